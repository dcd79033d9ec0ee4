// The part of CUDA that kernels/cu uses, for a C++ compiler: included by device.cuh under JP_EMULATE, with
// __CUDA_ARCH__ set to choose the body.
#pragma once
#include "fiber.h"
#include "warp_math.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define JP_SHARED(type, name, count)                                                                                   \
    static const char name##_key = 0;                                                                                  \
    type *const name = static_cast<type *>(emu::shared(&name##_key, sizeof(type) * (count)))

#define threadIdx (emu::block().fiber().thread)
#define blockIdx (emu::block().index)
#define blockDim (emu::block().size)
#define gridDim (emu::block().grid)

using __half = _Float16;
struct float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
using std::max;
using std::min;

inline void __syncthreads() { emu::barrier(); }
inline void __syncwarp() { emu::warp_collective(nullptr, nullptr); }
inline void __threadfence_system() {}
inline __half __float2half_rn(float f) { return static_cast<__half>(f); }
inline float __int_as_float(unsigned bits) {
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

inline float __shfl_xor_sync(unsigned, float value, int mask) {
    emu::Shuffle s{value, static_cast<unsigned>(mask), 0.f};
    emu::warp_collective(emu::shuffle_xor, &s);
    return s.result;
}

inline unsigned char *dynamic_shared() { return reinterpret_cast<unsigned char *>(emu::block().dynamic); }

namespace emu {
inline void aligned(const void *p, unsigned bytes, const char *what) {
    if (reinterpret_cast<uintptr_t>(p) % bytes) fail("%s: address not a multiple of %u", what, bytes);
}
} // namespace emu

inline uint4 load_once(const void *from) {
    emu::aligned(from, 16, "load_once");
    uint4 v;
    memcpy(&v, from, 16);
    return v;
}

inline void unpack8(uint4 v, float (&to)[8]) { emu::halves_to_floats(&v, to, 8); }

inline uint4 pack8(const float (&from)[8]) {
    __half halves[8];
    for (int i = 0; i < 8; i++) halves[i] = static_cast<__half>(from[i]);
    uint4 v;
    memcpy(&v, halves, 16);
    return v;
}

template <class T> const T *kept(const T *p) { return p; }

inline float larger(float a, float b) { return a > b || a != a ? a : b; }

template <class T> T load_shared(const void *from) {
    emu::aligned(from, sizeof(T), "load_shared");
    emu::touch(from, sizeof(T));
    return *static_cast<const T *>(from);
}
template <class T> void store_shared(void *to, T value) {
    emu::aligned(to, sizeof(T), "store_shared");
    emu::touch(to, sizeof(T));
    *static_cast<T *>(to) = value;
}

#if __CUDA_ARCH__ >= 800

namespace emu {
inline void perform(const Copy &c) {
    if (c.valid)
        memcpy(c.to, c.from, c.bytes);
    else
        memset(c.to, 0, c.bytes);
}

inline void copy(const char *to, const void *from, unsigned bytes, bool valid) {
    aligned(to, bytes, "cp.async");
    aligned(from, bytes, "cp.async");
    Fiber &f = block().fiber();
    touch(to, bytes);
    f.copies.push_back({const_cast<char *>(to), from, bytes, valid});
    if (mode.early_copies) perform(f.copies.back());
}

// Copies of all groups but the `pending` youngest.
inline void wait(size_t pending) {
    Fiber &f = block().fiber();
    if (f.groups.size() <= pending) return;
    const size_t groups = f.groups.size() - pending, copies = f.groups[groups - 1];
    if (!mode.early_copies)
        for (size_t i = 0; i < copies; i++) perform(f.copies[i]);
    f.copies.erase(f.copies.begin(), f.copies.begin() + copies);
    f.groups.erase(f.groups.begin(), f.groups.begin() + groups);
    for (size_t &g : f.groups) g -= copies;
}
} // namespace emu

using SharedAt = const char *;
inline SharedAt shared_at(const void *p) { return static_cast<SharedAt>(p); }
inline void copy16(SharedAt to, const void *from, bool valid) { emu::copy(to, from, 16, valid); }
inline void copy8(SharedAt to, const void *from, bool valid) { emu::copy(to, from, 8, valid); }
inline void copy_commit() { emu::block().fiber().groups.push_back(emu::block().fiber().copies.size()); }
template <int PENDING> void copy_wait() { emu::wait(PENDING); }

inline void ldmatrix4(unsigned (&r)[4], SharedAt row) {
    emu::aligned(row, 16, "ldmatrix");
    emu::touch(row, 16);
    uint16_t line[8];
    memcpy(line, row, 16); // here, so that a sanitizer sees the access
    emu::LdMatrix op{line, r};
    emu::warp_collective(emu::ldmatrix4, &op);
}

inline void mma16816(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    emu::Mma op{d, {a[0], a[1], a[2], a[3]}, {b0, b1}};
    emu::warp_collective(emu::mma16816, &op);
}

#else
#include "wmma.h"
#endif

namespace emu {
template <auto F> struct Caller;
template <class Params, void (*F)(Params)> struct Caller<F> {
    static void call(void **params) { F(*static_cast<const std::remove_cv_t<Params> *>(params[0])); }
};
} // namespace emu
// Makes a kernel known to emu::find.
#define EMU_KERNEL(name) static const emu::Register register_##name(#name, emu::Caller<&name>::call);
