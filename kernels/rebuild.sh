#!/usr/bin/env bash
# Compiles cu/jetpace.cu for every GPU into cubin/<sm>/jetpace.cubin and writes cubin/manifest.toml. No GPU is needed.
#   rebuild.sh          rebuilds in place
#   rebuild.sh --check  builds twice, from two directories, and compares both with what is committed
# The compilers come from pinned wheels, kept under build/.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=$(dirname "$here")/build/cuda
die() { printf 'rebuild.sh: %s\n' "$*" >&2; exit 1; }

fetch() {
    local stamp=$cache/unpacked
    [ -e "$stamp" ] && cmp -s "$stamp" "$here/cuda-wheels.txt" && return
    python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: install python3-pip"
    rm -rf "$cache"
    mkdir -p "$cache/wheels" "$cache/11" "$cache/13"
    python3 -m pip download -q --no-deps --require-hashes --only-binary=:all: --platform manylinux2014_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2010_x86_64 --platform manylinux_2_12_x86_64 \
        -d "$cache/wheels" -r "$here/cuda-wheels.txt"
    for wheel in "$cache"/wheels/*; do
        case $wheel in
            *_cu11-*) python3 -m zipfile -e "$wheel" "$cache/11" ;;
            *) python3 -m zipfile -e "$wheel" "$cache/13" ;;
        esac
    done
    rm -r "$cache/wheels"
    cp "$here/cuda-wheels.txt" "$stamp"
}

# build SOURCES OUT
build() {
    local eleven=$cache/11/nvidia thirteen=$cache/13/nvidia/cu13 sm
    local version11 version13
    version11=$(sed -n 's/^nvidia-cuda-nvrtc-cu11==\([0-9.]*\).*/\1/p' "$here/cuda-wheels.txt")
    version13=$(sed -n 's/^nvidia-cuda-nvrtc==\([0-9.]*\).*/\1/p' "$here/cuda-wheels.txt")
    mkdir -p "$2"
    python3 "$here/compile.py" --sources "$1" >"$2/manifest.toml"
    for sm in sm_72 sm_87 sm_90; do
        python3 "$here/compile.py" "$version11" "$eleven/cuda_nvrtc/lib/libnvrtc.so.11.2" \
            "$eleven/cuda_runtime/include,$eleven/cuda_nvcc/include" "$1/jetpace.cu" $sm "$2/$sm/jetpace.cubin" >>"$2/manifest.toml"
    done
    python3 "$here/compile.py" "$version13" "$thirteen/lib/libnvrtc.so.13" "$thirteen/include,$thirteen/include/cccl" \
        "$1/jetpace.cu" sm_110 "$2/sm_110/jetpace.cubin" >>"$2/manifest.toml"
}

[ "$(uname -m)" = x86_64 ] || die "the pinned compilers are for x86-64"
fetch
case ${1:-} in
    "")
        rm -rf "$here/cubin"
        build "$here/cu" "$here/cubin"
        ;;
    --check)
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        cp -r "$here/cu" "$work/elsewhere"
        build "$here/cu" "$work/one" & one=$!
        build "$work/elsewhere" "$work/two" & two=$!
        wait $one || die "the first build failed"
        wait $two || die "the second build failed"
        diff -r "$work/one" "$work/two" || die "two builds differ"
        diff -r "$work/one" "$here/cubin" || die "kernels/cubin is out of date: run kernels/rebuild.sh"
        grep -E '^(name|nvrtc|sha256|bytes)' "$here/cubin/manifest.toml"
        ;;
    *) die "usage: rebuild.sh [--check]" ;;
esac
