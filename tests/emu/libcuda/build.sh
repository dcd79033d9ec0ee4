#!/usr/bin/env bash
# Builds the stub driver on the emulated kernels.  build.sh OUT ARCH FLAG ...   (ARCH as __CUDA_ARCH__: 870 or 720)
# Leaves OUT/libcuda.so.1, and OUT/old/libcuda.so.1, which lacks a function.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=$1 arch=$2
shift 2
emu=$here/.. kernels=$here/../../../kernels/cu
mkdir -p "$out/old"
flags=(-std=c++17 -O2 -g -fPIC -fvisibility=hidden -march=native -DJP_EMULATE "-D__CUDA_ARCH__=$arch"
    "-DJP_STUB_BODY=${arch%0}" -I "$here" -I "$emu" -I "$kernels" -Wall -Wextra -Wno-unknown-pragmas "$@")
case "$*" in *address*) flags+=(-DJP_ASAN) ;; esac
for f in kernels fiber warp_math; do
    g++ "${flags[@]}" -c "$emu/$f.cpp" -o "$out/$f.o" &
done
g++ "${flags[@]}" -c "$here/libcuda.cpp" -o "$out/libcuda.o" &
g++ "${flags[@]}" -DJP_STUB_OLD -c "$here/libcuda.cpp" -o "$out/old/libcuda.o" &
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
[ $failed = 0 ]
for dir in "$out" "$out/old"; do
    g++ "$@" -shared "$dir/libcuda.o" "$out"/{kernels,fiber,warp_math}.o -pthread -Wl,-soname,libcuda.so.1 -o "$dir/libcuda.so.1"
done
