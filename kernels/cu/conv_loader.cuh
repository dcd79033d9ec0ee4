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

// Where the copies of ROWS rows come from.
template <int ROWS> class Sources {
#if __CUDA_ARCH__ >= 800
    const __half *first[ROWS]; // pointers, so that an address in the loop is one instruction

  public:
    __device__ __forceinline__ void set(int i, const void *base, int element) {
        first[i] = kept(static_cast<const __half *>(base) + element);
    }
    __device__ __forceinline__ const __half *at(int i, const void *, int offset) const { return first[i] + offset; }
#else
    int first[ROWS]; // half as many registers: wmma's body has no more

  public:
    __device__ __forceinline__ void set(int i, const void *, int element) { first[i] = element; }
    __device__ __forceinline__ const __half *at(int i, const void *base, int offset) const {
        return static_cast<const __half *>(base) + (first[i] + offset);
    }
#endif
};

template <class T> class ConvLoader {
    static constexpr int CHUNKS = T::K / 8; // 16-byte chunks of a row
    static constexpr int PASS = JP_CONV_THREADS / CHUNKS;
    static constexpr int A_ROWS = T::M / PASS, B_ROWS = T::N / PASS; // rows that this thread copies
#if __CUDA_ARCH__ >= 800
    static constexpr int FILTERS = B_ROWS;
#else
    static constexpr int FILTERS = 1; // from which the others are computed: registers again
#endif
    static_assert(T::M % PASS == 0 && T::N % PASS == 0, "");

    static_assert(PASS % 8 == 0, "SharedTile's permutation is the same for every row that this thread copies");

    const JpConv &p;
    Sources<A_ROWS> pixels;    // the pixel's first tap, which may lie outside the image, and this thread's channels
    Sources<FILTERS> filters;  // the filter's
    unsigned taps[A_ROWS];     // bit ky * kernel + kx: that tap lies in the image
    int exist;                 // rows of B that exist, from this thread's first row on
    int start, tap, kx;        // of the next step: first channel, tap, that tap's column
    int offset, filter_offset; // of the next step, from the first tap

  public:
    __device__ __forceinline__ ConvLoader(const JpConv &params, int row0, int channel0, int step) : p(params) {
        const int row = SharedTile<T::K>::first_row(threadIdx.x), channel = threadIdx.x % CHUNKS * 8;
        const int rows = conv_rows(p), size = p.kernel * p.kernel * p.channels;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) locate(i, row0 + row + i * PASS, rows, channel);
#pragma unroll
        for (int i = 0; i < FILTERS; i++) filters.set(i, p.weights, (channel0 + row + i * PASS) * size + channel);
        exist = p.out_channels - channel0 - row;
        const int steps_per_tap = ceil_div(p.channels, T::K);
        tap = step / steps_per_tap;
        kx = tap % p.kernel;
        start = step % steps_per_tap * T::K;
        offset = (tap / p.kernel * p.width + kx) * p.channels + start;
        filter_offset = tap * p.channels + start;
    }

#if __CUDA_ARCH__ >= 800
    // Starts the copies of the next step, of zeros where it is not `wanted`.
    __device__ __forceinline__ void copy(SharedAt stage, bool wanted) {
        const SharedAt to = stage + 2 * first_chunk();
        each(wanted, [to](int row, const __half *from, bool exists) {
            copy16(to + row * 2 * SharedTile<T::K>::STRIDE, from, exists);
        });
    }
#else
    uint4 waiting[A_ROWS + B_ROWS];

    // Reads the next step into registers; there it waits until the other stage is free.
    __device__ __forceinline__ void fetch() {
        int i = 0;
        each(true, [this, &i](int, const __half *from, bool exists) {
            waiting[i++] = exists ? *reinterpret_cast<const uint4 *>(from) : make_uint4(0, 0, 0, 0);
        });
    }

    __device__ __forceinline__ void store(__half *stage) const {
        __half *const to = stage + first_chunk();
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) store_shared(to + i * PASS * SharedTile<T::K>::STRIDE, waiting[i]);
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            store_shared(to + (T::M + i * PASS) * SharedTile<T::K>::STRIDE, waiting[A_ROWS + i]);
    }
#endif

  private:
    // Where in a stage this thread copies first.
    static __device__ __forceinline__ int first_chunk() {
        return SharedTile<T::K>::offset(SharedTile<T::K>::first_row(threadIdx.x), threadIdx.x % CHUNKS);
    }

    // Calls `copy` for each 16 bytes of the next step: the row behind this thread's first one, the source, whether it
    // exists.
    template <class F> __device__ __forceinline__ void each(bool wanted, F copy) {
        const bool inside = wanted && start + static_cast<int>(threadIdx.x % CHUNKS * 8) < p.channels;
        const unsigned bit = inside ? 1u << tap : 0;
#pragma unroll
        for (int i = 0; i < A_ROWS; i++) copy(i * PASS, pixels.at(i, p.input, offset), (taps[i] & bit) != 0);
        const int rows = inside ? exist : 0, size = p.kernel * p.kernel * p.channels;
#pragma unroll
        for (int i = 0; i < B_ROWS; i++)
            copy(T::M + i * PASS, filters.at(i % FILTERS, p.weights, filter_offset + (i - i % FILTERS) * PASS * size),
                 i * PASS < rows);
        advance();
    }

    // The corner of row `row`'s input window and which of its taps exist.
    __device__ __forceinline__ void locate(int i, int row, int rows, int channel) {
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
        pixels.set(i, p.input, ((image * p.height + iy) * p.width + ix) * p.channels + channel);
        const int begin = max(0, -ix), end = max(begin, min(p.kernel, p.width - ix));
        const unsigned columns = (1u << end) - (1u << begin);
        taps[i] = 0;
        if (row < rows) {
            for (int ky = 0; ky < p.kernel; ky++)
                if (iy + ky >= 0 && iy + ky < p.height) taps[i] |= columns << (ky * p.kernel);
        }
    }

    // Without branches, as `copy` wants it.
    __device__ __forceinline__ void advance() {
        start += T::K;
        const int past = start - p.channels; // the last step of a tap may have reached past its channels
        const bool next_tap = past >= 0;
        const bool next_row = next_tap && kx + 1 == p.kernel;
        const int moved = T::K - (next_tap ? past : 0);
        filter_offset += moved;
        offset += moved + (next_row ? (p.width - p.kernel) * p.channels : 0);
        start = next_tap ? 0 : start;
        tap += next_tap;
        kx = next_row ? 0 : kx + next_tap;
    }
};
