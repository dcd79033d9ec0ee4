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

    static_assert(PASS % 8 == 0, "SharedTile's permutation is the same for every row that this thread copies");

    const JpConv &p;
    int base[A_ROWS];      // element of the pixel's first tap, which may lie outside the image, and this thread's chunk
    unsigned taps[A_ROWS]; // bit ky * kernel + kx: that tap lies in the image
    int filters;           // rows of B that exist, from this thread's first row on
    int filter;            // element of this thread's first row and chunk in the next step
    int tap, kx, channel;  // of the next step; the channel is this thread's
    int offset;            // of that step from base

  public:
    __device__ __forceinline__ ConvLoader(const JpConv &params, int row0, int channel0, int step) : p(params) {
        const int row = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
        const int rows = conv_rows(p);
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) locate(i, row0 + row + i * PASS, rows);
        const int steps_per_tap = ceil_div(p.channels, T::K);
        tap = step / steps_per_tap;
        kx = tap % p.kernel;
        const int start = step % steps_per_tap * T::K;
        channel = start + chunk * 8;
        offset = (tap / p.kernel * p.width + kx) * p.channels + channel;
        filters = p.out_channels - channel0 - row;
        filter = ((channel0 + row) * p.kernel * p.kernel + tap) * p.channels + channel;
    }

#if __CUDA_ARCH__ >= 800
    // Starts the copies of the next step.
    __device__ __forceinline__ void copy(__half *stage) {
        each([stage](int place, const __half *from, bool wanted) { copy16(stage + place, from, wanted); });
    }
#else
    uint4 waiting[A_ROWS + B_ROWS];

    // Reads the next step into registers; there it waits until the other stage is free.
    __device__ __forceinline__ void fetch() {
        int i = 0;
        each([this, &i](int, const __half *from, bool wanted) {
            waiting[i++] = wanted ? *reinterpret_cast<const uint4 *>(from) : make_uint4(0, 0, 0, 0);
        });
    }

    __device__ __forceinline__ void store(__half *stage) const {
        __half *const to = stage + SharedTile<T::K>::offset(threadIdx.x / CHUNKS, threadIdx.x % CHUNKS);
#pragma unroll
        for (int i = 0; i < A_ROWS; i++)
            *reinterpret_cast<uint4 *>(to + i * PASS * SharedTile<T::K>::STRIDE) = waiting[i];
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            *reinterpret_cast<uint4 *>(to + (T::M + i * PASS) * SharedTile<T::K>::STRIDE) = waiting[A_ROWS + i];
    }
#endif

  private:
    // Calls `copy` with the place in the stage, the source and whether it exists for each 16 bytes of the next step.
    template <class F> __device__ __forceinline__ void each(F copy) {
        const int place = SharedTile<T::K>::offset(threadIdx.x / CHUNKS, threadIdx.x % CHUNKS);
        const bool inside = channel < p.channels;
        const unsigned bit = inside ? 1u << tap : 0;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++)
            copy(place + i * PASS * SharedTile<T::K>::STRIDE, static_cast<const __half *>(p.input) + (base[i] + offset),
                 (taps[i] & bit) != 0);
        const int rows = inside ? filters : 0;
        const int stride = PASS * p.kernel * p.kernel * p.channels;
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            copy(place + (T::M + i * PASS) * SharedTile<T::K>::STRIDE,
                 static_cast<const __half *>(p.weights) + (filter + i * stride), i * PASS < rows);
        advance();
    }

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

    __device__ __forceinline__ void advance() {
        channel += T::K;
        offset += T::K;
        filter += T::K;
        const int chunk = threadIdx.x % CHUNKS;
        if (channel - chunk * 8 < p.channels) return;
        // On to the next tap; the last step of one may have reached past its channels.
        const int past = channel - chunk * 8 - p.channels;
        channel = chunk * 8;
        offset -= past;
        filter -= past;
        tap++;
        if (++kx < p.kernel) return;
        kx = 0;
        offset += (p.width - p.kernel) * p.channels;
    }
};
