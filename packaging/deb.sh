#!/usr/bin/env bash
# Packs what packaging/build.sh has built.
#   usage: deb.sh ARCH OUT-FOLDER     (ARCH: arm64 or amd64; cargo-deb in PATH)
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/release.sh
arch=$1 out=$(mkdir -p "$2" && cd "$2" && pwd)
cpu=$(cpu "$arch")
built=build/debian/$cpu-unknown-linux-gnu/release
stage=build/deb/stage
version=$(version)
dated

rm -rf "$stage"
mkdir -p "$stage/lib" "$stage/man"
cp "$built/jetpace" "$stage/"
ln -s jetpace "$stage/jetpace-cuda"
cp "build/debian/$cpu-unknown-linux-musl/release-static/jetpace" "$stage/jetpace-agent"
cp "$built/libjetpace.so" "$stage/lib/libjetpace.so.0"
cp "$built/libjetpace_nvtx.so" "$stage/lib/libjetpace-nvtx.so"
cp "$built/libjetpace.a" "$stage/lib/"
"$cpu-linux-gnu-strip" --strip-debug --enable-deterministic-archives "$stage/lib/libjetpace.a"
ln -s libjetpace.so.0 "$stage/lib/libjetpace.so"
sed -e "s|@prefix@|/usr|; s|@libdir@|/usr/lib|; s|@version@|$version|" capi/jetpace.pc.in >"$stage/lib/jetpace.pc"

# The program's own pages and completions; a foreign one runs under qemu, with the C library that it was linked with.
jetpace=("$stage/jetpace")
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
    jetpace=("qemu-$cpu-static" -L "build/sysroot/$arch" "$stage/jetpace")
fi
"${jetpace[@]}" man --out "$stage/man" >/dev/null
"${jetpace[@]}" completions bash >"$stage/jetpace.bash"
"${jetpace[@]}" completions zsh >"$stage/_jetpace"
"${jetpace[@]}" completions fish >"$stage/jetpace.fish"

pack() { cargo-deb -q --no-build --no-strip --profile release --target "$cpu-unknown-linux-gnu" -o "$out/" "$@"; }
pack -p jetpace
pack -p jetpace-capi
pack -p jetpace-capi --variant dev
pack -p jetpace-capi --variant python
