// What the kernels use of the hardware: PTX in one-line functions, each with a twin in tests/emu/emu.h for the CPU.
#pragma once
#include "abi.h"

#ifdef JP_EMULATE
#include "emu.h"
#else
#include <cuda_fp16.h>
#if __CUDA_ARCH__ < 800
#include <mma.h>
#endif

// Shared memory of a fixed size, aligned as wmma wants it.
#define JP_SHARED(type, name, count) __shared__ __align__(32) type name[count]

__device__ __forceinline__ unsigned char *dynamic_shared() {
    extern __shared__ __align__(128) unsigned char jp_dynamic[];
    return jp_dynamic;
}

// 16 bytes through the read-only path, not kept in L1: read once.
__device__ __forceinline__ uint4 load_once(const void *from) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(from));
    return v;
}

__device__ __forceinline__ void unpack8(uint4 v, float (&to)[8]) {
    const unsigned words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float2 f = __half22float2(*reinterpret_cast<const __half2 *>(&words[i]));
        to[2 * i] = f.x;
        to[2 * i + 1] = f.y;
    }
}

__device__ __forceinline__ uint4 pack8(const float (&from)[8]) {
    unsigned words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const __half2 h = __floats2half2_rn(from[2 * i], from[2 * i + 1]);
        words[i] = *reinterpret_cast<const unsigned *>(&h);
    }
    return make_uint4(words[0], words[1], words[2], words[3]);
}

// The same pointer, which the compiler must take as it is: it would compute pointers that are kept for a loop anew from
// their parts in every round.
template <class T> __device__ __forceinline__ const T *kept(const T *p) {
    asm("" : "+l"(p));
    return p;
}

// Shared memory by whole vectors. Functions, so that the emulation sees every address and counts bank conflicts.
template <class T> __device__ __forceinline__ T load_shared(const void *from) { return *static_cast<const T *>(from); }
template <class T> __device__ __forceinline__ void store_shared(void *to, T value) { *static_cast<T *>(to) = value; }

#if __CUDA_ARCH__ >= 800

// The larger one, NaN where one is NaN: fmaxf would turn an overflow of fp16 into a plausible number.
__device__ __forceinline__ float larger(float a, float b) {
    float m;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(m) : "f"(a), "f"(b));
    return m;
}

// An address in shared memory, in bytes: 32 bits, so that constants added to it become part of an instruction.
using SharedAt = unsigned;
__device__ __forceinline__ SharedAt shared_at(const void *p) {
    return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// Starts a copy of 16 bytes into shared memory; zeros where not valid (nothing is read then).
__device__ __forceinline__ void copy16(SharedAt to, const void *from, bool valid) {
    const int size = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(size)
                 : "memory");
}

// The same with 8 bytes.
__device__ __forceinline__ void copy8(SharedAt to, const void *from, bool valid) {
    const int size = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(from), "r"(size)
                 : "memory");
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most PENDING of this thread's groups of copies are under way.
template <int PENDING> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

// Four 8x8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix4(unsigned (&r)[4], SharedAt row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// d += a * b, 16 x 16 by 16 x 8.
__device__ __forceinline__ void mma16816(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#else

__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

#endif
#endif

#define JP_MINUS_INFINITY __int_as_float(0xff800000)

__device__ __forceinline__ int ceil_div(int a, int b) { return (a + b - 1) / b; }
