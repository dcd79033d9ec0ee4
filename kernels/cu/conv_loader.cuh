// Brings the operands of one inner step of conv_* into shared memory.
#pragma once
#include "warp_tile.cuh"

// A block's shape: M pixels x N channels in steps of K, its warps, and how many steps lie in shared memory.
template <int M_, int N_, int K_, int WARPS_M_, int WARPS_N_, int STAGES_> struct ConvTile {
    static constexpr int M = M_, N = N_, K = K_, WARPS_N = WARPS_N_;
    static constexpr int WARP_M = M / WARPS_M_, WARP_N = N / WARPS_N_;
    static_assert(WARPS_M_ * WARPS_N_ * 32 == JP_CONV_THREADS, "");
#if __CUDA_ARCH__ >= 800
    static constexpr int STAGES = STAGES_;
#else
    static constexpr int STAGES = 2;
#endif
    static constexpr int STAGE = (M + N) * SharedTile<K>::STRIDE; // elements
    static constexpr int SHARED_BYTES = STAGES * STAGE * 2;
    static_assert(SHARED_BYTES >= JP_CONV_THREADS / 32 * Staging<WARP_N>::FLOATS * 4, "room for the epilogue");
};
#if __CUDA_ARCH__ >= 800
#define JP_CONV_SHARED_BYTES(m, n) JP_CONV_##m##X##n##_SHARED
#else
#define JP_CONV_SHARED_BYTES(m, n) JP_CONV_##m##X##n##_SHARED_SM72
#endif

// Rows of the GEMM: output pixels; with pool2 the four of a window next to each other.
__device__ __forceinline__ int conv_rows(const JpConv &p) {
    return p.pool2 ? p.batch * (p.out_height / 2) * (p.out_width / 2) * 4 : p.batch * p.out_height * p.out_width;
}

template <class T> class ConvLoader {
    static constexpr int CHUNKS = T::K / 8; // 16-byte chunks of a row
    static constexpr int PASS = JP_CONV_THREADS / CHUNKS;
    static constexpr int A_ROWS = T::M / PASS, B_ROWS = T::N / PASS; // rows that this thread copies
    static_assert(T::M % PASS == 0 && T::N % PASS == 0, "");

    const JpConv &p;
    int base[A_ROWS];      // element of the pixel's first tap, which may lie outside the image
    unsigned taps[A_ROWS]; // bit ky * kernel + kx: that tap lies in the image
    const __half *filter;  // of this thread's first row
    int filters;           // rows of B that exist, from this thread's first row on
    int tap, kx, channel;  // of the next step
    int offset;            // of that tap from base, in elements

  public:
    __device__ __forceinline__ ConvLoader(const JpConv &params, int row0, int channel0, int step) : p(params) {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        const int rows = conv_rows(p);
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) locate(i, row0 + row + i * PASS, rows);
        const int inner = p.kernel * p.kernel * p.channels;
        filter = static_cast<const __half *>(p.weights) + static_cast<size_t>(channel0 + row) * inner + chunk * 8;
        filters = p.out_channels - channel0 - row;
        const int steps_per_tap = ceil_div(p.channels, T::K);
        tap = step / steps_per_tap;
        channel = step % steps_per_tap * T::K;
        kx = tap % p.kernel;
        offset = tap / p.kernel * p.width * p.channels + kx * p.channels;
    }

#if __CUDA_ARCH__ >= 800
    // Starts the copies of the next step.
    __device__ __forceinline__ void copy(__half *stage) {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++)
            copy16(stage + SharedTile<T::K>::offset(row + i * PASS, chunk), pixel(i), pixel_wanted(i));
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            copy16(stage + SharedTile<T::K>::offset(T::M + row + i * PASS, chunk), weights(i), weights_wanted(i));
        advance();
    }
#else
    uint4 a[A_ROWS], b[B_ROWS];

    // Reads the next step into registers; there it waits until the other stage is free.
    __device__ __forceinline__ void fetch() {
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) a[i] = fetch16(pixel(i), pixel_wanted(i));
#pragma unroll
        for (int i = 0; i < B_ROWS; i++) b[i] = fetch16(weights(i), weights_wanted(i));
        advance();
    }

    __device__ __forceinline__ void store(__half *stage) const {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++)
            *reinterpret_cast<uint4 *>(stage + SharedTile<T::K>::offset(row + i * PASS, chunk)) = a[i];
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            *reinterpret_cast<uint4 *>(stage + SharedTile<T::K>::offset(T::M + row + i * PASS, chunk)) = b[i];
    }

  private:
    static __device__ __forceinline__ uint4 fetch16(const __half *from, bool wanted) {
        return wanted ? *reinterpret_cast<const uint4 *>(from) : make_uint4(0, 0, 0, 0);
    }
#endif

  private:
    // The corner of row `row`'s input window and which of its taps exist.
    __device__ __forceinline__ void locate(int i, int row, int rows) {
        int y, x, image;
        if (p.pool2) {
            const int window = row >> 2, width = p.out_width / 2, height = p.out_height / 2;
            x = window % width * 2 + (row & 1);
            y = window / width % height * 2 + (row >> 1 & 1);
            image = window / (width * height);
        } else {
            x = row % p.out_width;
            y = row / p.out_width % p.out_height;
            image = row / (p.out_width * p.out_height);
        }
        const int ix = x * p.stride - p.pad, iy = y * p.stride - p.pad;
        base[i] = ((image * p.height + iy) * p.width + ix) * p.channels;
        const int begin = max(0, -ix), end = max(begin, min(p.kernel, p.width - ix));
        const unsigned columns = (1u << end) - (1u << begin);
        taps[i] = 0;
        if (row < rows) {
            for (int ky = 0; ky < p.kernel; ky++)
                if (iy + ky >= 0 && iy + ky < p.height) taps[i] |= columns << (ky * p.kernel);
        }
    }

    __device__ __forceinline__ bool channel_wanted() const {
        return channel + static_cast<int>(threadIdx.x % CHUNKS) * 8 < p.channels;
    }
    __device__ __forceinline__ bool pixel_wanted(int i) const { return (taps[i] >> tap & 1) && channel_wanted(); }
    __device__ __forceinline__ bool weights_wanted(int i) const { return i * PASS < filters && channel_wanted(); }

    // An address inside the tensor where wanted; else the tensor's start, which is not read.
    __device__ __forceinline__ const __half *pixel(int i) const {
        const int element = base[i] + offset + channel + static_cast<int>(threadIdx.x % CHUNKS) * 8;
        return static_cast<const __half *>(p.input) + (pixel_wanted(i) ? element : 0);
    }
    __device__ __forceinline__ const __half *weights(int i) const {
        const size_t row = static_cast<size_t>(i * PASS) * (p.kernel * p.kernel * p.channels);
        return weights_wanted(i) ? filter + row + tap * p.channels + channel : static_cast<const __half *>(p.weights);
    }

    __device__ __forceinline__ void advance() {
        channel += T::K;
        if (channel < p.channels) return;
        channel = 0;
        tap++;
        kx++;
        offset += p.channels;
        if (kx < p.kernel) return;
        kx = 0;
        offset += (p.width - p.kernel) * p.channels;
    }
};
