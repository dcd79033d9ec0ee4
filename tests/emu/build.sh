#!/usr/bin/env bash
# Builds the emulation.  build.sh OUT ARCH KERNELS_DIR FLAG ...   (ARCH as __CUDA_ARCH__: 870 or 720)
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
out=$1 arch=$2 kernels=$3
shift 3
mkdir -p "$out"
common=(-std=c++17 -DJP_EMULATE "-D__CUDA_ARCH__=$arch" -I "$here" -I "$kernels" -Wall -Wextra -Wno-unknown-pragmas -march=native)
for f in kernels layers main; do
    g++ "${common[@]}" "$@" -c "$here/$f.cpp" -o "$out/$f.o" &
done
# Nothing of this is under test: the change of fibers, the arithmetic of a warp, the reference.
case "$*" in *address*) asan=-DJP_ASAN ;; *) asan=-UJP_ASAN ;; esac
g++ "${common[@]}" -O2 $asan -c "$here/fiber.cpp" -o "$out/fiber.o" &
for f in warp_math reference; do
    g++ "${common[@]}" -O3 -ffast-math -fno-finite-math-only -c "$here/$f.cpp" -o "$out/$f.o" &
done
failed=0
for job in $(jobs -p); do wait "$job" || failed=1; done
[ $failed = 0 ]
g++ "$@" "$out"/{kernels,layers,main,fiber,warp_math,reference}.o -pthread -o "$out/emu_test"
