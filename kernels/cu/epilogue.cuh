// What stands behind a sum of products: bias, residual, rectifier, and the way from registers to memory.
#pragma once
#include "device.cuh"

// A warp turns 16 rows of its accumulators at a time through shared memory, so that every lane then holds 8
// neighbouring channels of one row: 16-byte stores, and one layout behind mma and wmma. 8 floats of padding keep the
// writes free of bank conflicts. Of reads, lanes 32 floats apart would meet in one bank, so where `swapped` the halves of 8
// floats are read in the other order: mma's are stored so, wmma's stores know only plain rows.
template <int N> struct Staging {
    static constexpr int ROWS = 16;
    static constexpr int STRIDE = N + 8;
    static constexpr int FLOATS = ROWS * STRIDE;
    static constexpr int LANES = N / 8;         // lanes that share a row
    static constexpr int STEP = 32 / LANES;     // rows that a warp handles at once

    static __device__ __forceinline__ bool swapped(int row, int column) {
        return N == 64 ? column >= 32 : ((row ^ row >> 2) & 1) != 0;
    }
    // 8 neighbouring channels of a row.
    static __device__ __forceinline__ void read8(const float *staged, int row, int column, float (&v)[8]) {
        const float *const at = staged + row * STRIDE + column;
        const bool swap = swapped(row, column);
        float4 low = load_shared<float4>(at + (swap ? 4 : 0)), high = load_shared<float4>(at + (swap ? 0 : 4));
#if __CUDA_ARCH__ < 800
        const float4 stored_low = swap ? high : low;
        high = swap ? low : high;
        low = stored_low;
#endif
        v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
        v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    }
};

__device__ __forceinline__ void read8(const float *from, float (&v)[8]) {
    const float4 low = *reinterpret_cast<const float4 *>(from);
    const float4 high = *reinterpret_cast<const float4 *>(from + 4);
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}

__device__ __forceinline__ void write8(float *to, const float (&v)[8]) {
    *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
    *reinterpret_cast<float4 *>(to + 4) = make_float4(v[4], v[5], v[6], v[7]);
}

// What a lane needs for its 8 channels, the same for every pixel.
struct Finish {
    float bias[8];
    float floor; // the rectifier's, or minus infinity

    __device__ __forceinline__ Finish(const JpConv &p, int channel) : floor(p.relu ? 0.f : JP_MINUS_INFINITY) {
        read8(static_cast<const float *>(p.bias) + channel, bias);
    }

    // `v` becomes the output of 8 channels of a pixel; the residual is zeros where there is none.
    __device__ __forceinline__ uint4 operator()(float (&v)[8], uint4 residual) const {
        float add[8];
        unpack8(residual, add);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] = larger(v[i] + bias[i] + add[i], floor);
        return pack8(v);
    }
};

// 8 channels of the residual and of the output; `at` counts elements.
__device__ __forceinline__ uint4 read_residual(const JpConv &p, int at) {
    if (!p.residual) return make_uint4(0, 0, 0, 0);
    return *reinterpret_cast<const uint4 *>(static_cast<const __half *>(p.residual) + at);
}
__device__ __forceinline__ void write_output(const JpConv &p, int at, uint4 v) {
    *reinterpret_cast<uint4 *>(static_cast<__half *>(p.output) + at) = v;
}

__device__ __forceinline__ void maximum8(float (&v)[8], const float (&other)[8]) {
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = larger(v[i], other[i]);
}
