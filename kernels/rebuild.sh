#!/usr/bin/env bash
# Compiles cu/jetpace.cu for every GPU into cubin/<sm>/jetpace.cubin and writes cubin/manifest.toml. No GPU is needed.
#   rebuild.sh          rebuilds in place
#   rebuild.sh --check  builds from another directory, compares with what is committed, and takes the census of the SASS
# The compilers come from pinned wheels, kept under build/.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
cache=$(dirname "$here")/build/cuda
nvdisasm=$cache/13/nvidia/cu13/bin/nvdisasm
# 8.0, 8.6 and 8.9 are desktop and data centre GPUs, where first evidence can come from.
ARCHITECTURES=(sm_72 sm_80 sm_86 sm_87 sm_89 sm_90 sm_110)
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
    local eleven=$cache/11/nvidia thirteen=$cache/13/nvidia/cu13 sm toolkit
    local version11 version13 parts
    version11=$(sed -n 's/^nvidia-cuda-nvrtc-cu11==\([0-9.]*\).*/\1/p' "$here/cuda-wheels.txt")
    version13=$(sed -n 's/^nvidia-cuda-nvrtc==\([0-9.]*\).*/\1/p' "$here/cuda-wheels.txt")
    local eleven_is=("$version11" "$eleven/cuda_nvrtc/lib/libnvrtc.so.11.2" "$eleven/cuda_runtime/include,$eleven/cuda_nvcc/include")
    local thirteen_is=("$version13" "$thirteen/lib/libnvrtc.so.13" "$thirteen/include,$thirteen/include/cccl")
    mkdir -p "$2"
    parts=$(mktemp -d)
    for sm in "${ARCHITECTURES[@]}"; do
        toolkit=("${eleven_is[@]}")
        [ "$sm" != sm_110 ] || toolkit=("${thirteen_is[@]}")
        printf '%s\0' "${toolkit[@]}" "$1/jetpace.cu" "$sm" "$2/$sm/jetpace.cubin" "$parts/$sm"
    done | xargs -0 -n 7 -P "$(nproc)" sh -c 'python3 "$0" "$1" "$2" "$3" "$4" "$5" "$6" >"$7"' "$here/compile.py" ||
        die "compiling failed"
    {
        python3 "$here/compile.py" --sources "$1"
        for sm in "${ARCHITECTURES[@]}"; do cat "$parts/$sm"; done
    } >"$2/manifest.toml"
    rm -r "$parts"
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
        build "$work/elsewhere" "$work/cubin"
        diff -r "$work/cubin" "$here/cubin" || die "kernels/cubin is out of date: run kernels/rebuild.sh"
        chmod +x "$nvdisasm"
        python3 "$here/census.py" "$nvdisasm" "$here/cubin"
        grep -E '^(name|nvrtc|sha256|bytes)' "$here/cubin/manifest.toml"
        ;;
    *) die "usage: rebuild.sh [--check]" ;;
esac
