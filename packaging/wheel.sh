#!/usr/bin/env bash
# Packs the Python package, with the library that packaging/build.sh has built, as a wheel for glibc 2.31 and later.
#   usage: wheel.sh ARCH OUT-FOLDER     (ARCH: arm64 or amd64)
set -euo pipefail
cd "$(dirname "$0")/.."
. packaging/release.sh
arch=$1 out=$(mkdir -p "$2" && cd "$2" && pwd)
cpu=$(cpu "$arch")
version=$(version)
grep -qx "version = \"$version\"" capi/python/pyproject.toml ||
    { echo "wheel.sh: capi/python/pyproject.toml has another version than $version" >&2 && exit 1; }
dated

stage=build/wheel/$arch tools=build/wheel/tools
rm -rf "$stage"
mkdir -p "$stage"
git ls-files capi/python | while read -r file; do
    install -Dm644 "$file" "$stage/${file#capi/python/}"
done
install -m644 "build/debian/$cpu-unknown-linux-gnu/release/libjetpace.so" "$stage/jetpace/libjetpace.so.0"
[ -x $tools/bin/python ] || python3 -m venv $tools
$tools/bin/python -c 'import setuptools; assert int(setuptools.__version__.split(".")[0]) >= 71' 2>/dev/null ||
    $tools/bin/pip install -q 'setuptools>=71'
(umask 022 && $tools/bin/pip wheel -q --no-deps --no-build-isolation --no-index -w "$out" \
    -C--build-option=--plat-name="manylinux_2_31_$cpu" "$stage")
ls "$out/jetpace-$version-py3-none-manylinux_2_31_$cpu.whl"
