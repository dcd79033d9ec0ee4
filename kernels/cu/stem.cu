// The first convolution: 3 channels, stored as 4, so that a filter row over neighbouring pixels is one run of memory
// and a tensor-core operand can be read straight from the image patch in shared memory.
#include "warp_tile.cuh"

template <int KERNEL_, int STRIDE_, int ROW_> struct Stem {
    static constexpr int KERNEL = KERNEL_, STRIDE = STRIDE_, ROW = ROW_;
    static constexpr int PATCH_ROWS = (JP_STEM_ROWS - 1) * STRIDE + KERNEL;
    static constexpr int PATCH_COLS = (JP_STEM_COLS - 1) * STRIDE + ROW / 4; // pixels
    static constexpr int PATCH = (PATCH_ROWS * PATCH_COLS * 4 + 15) / 16 * 16; // elements
    static constexpr int FILTER_STRIDE = ROW + 8;
    static constexpr int FILTER = JP_STEM_CHANNELS * FILTER_STRIDE; // elements of one filter row
    static constexpr int RING = 3;                                  // filter rows in shared memory
    static constexpr int WARP_M = JP_STEM_ROWS * JP_STEM_COLS / (JP_STEM_THREADS / 32);
    static constexpr int STAGED = JP_STEM_THREADS / 32 * Staging<JP_STEM_CHANNELS>::FLOATS * 2; // elements
#if __CUDA_ARCH__ >= 800
    static constexpr int USED = PATCH + RING * FILTER;
#else
    static constexpr int WINDOWS = JP_STEM_ROWS * JP_STEM_COLS * FILTER_STRIDE;
    static constexpr int USED = PATCH + FILTER + WINDOWS;
#endif
    static constexpr int SHARED = USED > STAGED ? USED : STAGED;
    static_assert(JP_STEM_COLS == 16 && WARP_M == 32, "a warp has two rows of 16 pixels");
};

#if __CUDA_ARCH__ >= 800

template <class S>
__device__ __forceinline__ void copy_filter_row(const JpConv &p, __half *ring, int channel0, int ky) {
    constexpr int CHUNKS = S::ROW / 8;
    const __half *const from =
        static_cast<const __half *>(p.weights) + (static_cast<size_t>(ky) * p.out_channels + channel0) * S::ROW;
    for (int i = threadIdx.x; i < JP_STEM_CHANNELS * CHUNKS; i += JP_STEM_THREADS)
        copy16(ring + ky % S::RING * S::FILTER + i / CHUNKS * S::FILTER_STRIDE + i % CHUNKS * 8, from + i * 8, true);
}

template <class S>
__device__ __forceinline__ void copy_patch(const JpConv &p, __half *patch, int image, int y0, int x0) {
    const __half *const from = static_cast<const __half *>(p.input);
    for (int i = threadIdx.x; i < S::PATCH_ROWS * S::PATCH_COLS; i += JP_STEM_THREADS) {
        const int y = y0 + i / S::PATCH_COLS, x = x0 + i % S::PATCH_COLS;
        const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
        const int at = inside ? ((image * p.height + y) * p.width + x) * JP_IMAGE_CHANNELS : 0;
        copy8(patch + i * 4, from + at, inside);
    }
}

template <class S>
__device__ __forceinline__ void sum_products(const JpConv &p, __half *shared, int image, int y0, int x0, int channel0,
                                             WarpTile<S::WARP_M, JP_STEM_CHANNELS> &sums) {
    __half *const patch = shared, *const ring = shared + S::PATCH;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    copy_patch<S>(p, patch, image, y0, x0);
    copy_filter_row<S>(p, ring, channel0, 0);
    copy_commit();
    copy_filter_row<S>(p, ring, channel0, 1);
    copy_commit();
    for (int ky = 0; ky < S::KERNEL; ky++) {
        copy_wait<1>();
        __syncthreads();
        if (ky + 2 < S::KERNEL) copy_filter_row<S>(p, ring, channel0, ky + 2);
        copy_commit();
        const __half *const filter = ring + ky % S::RING * S::FILTER;
#pragma unroll
        for (int k = 0; k < S::ROW / 16; k++) {
#pragma unroll
            for (int i = 0; i < 2; i++) {
                // The layout of mma's first operand: rows lane / 4 and 8 below, columns (lane % 4) * 2 and 8 behind.
                const int row = (warp * 2 + i) * S::STRIDE + ky, column = (lane >> 2) * S::STRIDE;
                const __half *const at = patch + (row * S::PATCH_COLS + column) * 4 + k * 16 + (lane & 3) * 2;
                sums.a[i][0] = *reinterpret_cast<const unsigned *>(at);
                sums.a[i][1] = *reinterpret_cast<const unsigned *>(at + 8 * S::STRIDE * 4);
                sums.a[i][2] = *reinterpret_cast<const unsigned *>(at + 8);
                sums.a[i][3] = *reinterpret_cast<const unsigned *>(at + 8 * S::STRIDE * 4 + 8);
            }
#pragma unroll
            for (int j = 0; j < JP_STEM_CHANNELS / 16; j++)
                ldmatrix4(sums.b[j], filter + (j * 16 + (lane & 7) + ((lane >> 4) << 3)) * S::FILTER_STRIDE + k * 16 +
                                         ((lane >> 3) & 1) * 8);
            sums.multiply();
        }
    }
}

#else

// wmma cannot read a patch whose rows overlap, so each filter row's windows are laid out first.
template <class S>
__device__ __forceinline__ void sum_products(const JpConv &p, __half *shared, int image, int y0, int x0, int channel0,
                                             WarpTile<S::WARP_M, JP_STEM_CHANNELS> &sums) {
    __half *const patch = shared, *const filter = shared + S::PATCH, *const windows = filter + S::FILTER;
    for (int i = threadIdx.x; i < S::PATCH_ROWS * S::PATCH_COLS; i += JP_STEM_THREADS) {
        const int y = y0 + i / S::PATCH_COLS, x = x0 + i % S::PATCH_COLS;
        const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
        const int at = inside ? ((image * p.height + y) * p.width + x) * JP_IMAGE_CHANNELS : 0;
        const uint2 zero = make_uint2(0, 0);
        *reinterpret_cast<uint2 *>(patch + i * 4) =
            inside ? *reinterpret_cast<const uint2 *>(static_cast<const __half *>(p.input) + at) : zero;
    }
    const int warp = threadIdx.x / 32;
    for (int ky = 0; ky < S::KERNEL; ky++) {
        __syncthreads();
        constexpr int CHUNKS = S::ROW / 8;
        const __half *const from =
            static_cast<const __half *>(p.weights) + (static_cast<size_t>(ky) * p.out_channels + channel0) * S::ROW;
        for (int i = threadIdx.x; i < JP_STEM_CHANNELS * CHUNKS; i += JP_STEM_THREADS)
            *reinterpret_cast<uint4 *>(filter + i / CHUNKS * S::FILTER_STRIDE + i % CHUNKS * 8) =
                *reinterpret_cast<const uint4 *>(from + i * 8);
        for (int i = threadIdx.x; i < JP_STEM_ROWS * JP_STEM_COLS * (S::ROW / 4); i += JP_STEM_THREADS) {
            const int pixel = i / (S::ROW / 4), kx = i % (S::ROW / 4);
            const int row = pixel / JP_STEM_COLS * S::STRIDE + ky, column = pixel % JP_STEM_COLS * S::STRIDE + kx;
            *reinterpret_cast<uint2 *>(windows + pixel * S::FILTER_STRIDE + kx * 4) =
                *reinterpret_cast<const uint2 *>(patch + (row * S::PATCH_COLS + column) * 4);
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < S::ROW / 16; k++)
            sums.template multiply<S::FILTER_STRIDE>(windows + warp * S::WARP_M * S::FILTER_STRIDE, filter, k);
    }
}

#endif

template <class S> __device__ __forceinline__ void stem(const JpConv &p) {
    JP_SHARED(__half, shared, S::SHARED);
    const int blocks_n = p.out_channels / JP_STEM_CHANNELS;
    const int image = blockIdx.z / blocks_n, channel0 = blockIdx.z % blocks_n * JP_STEM_CHANNELS;
    const int oy0 = blockIdx.y * JP_STEM_ROWS, ox0 = blockIdx.x * JP_STEM_COLS;
    WarpTile<S::WARP_M, JP_STEM_CHANNELS> sums;
    sums.clear();
    sum_products<S>(p, shared, image, oy0 * S::STRIDE - p.pad, ox0 * S::STRIDE - p.pad, channel0, sums);
    __syncthreads();

    using Stage = Staging<JP_STEM_CHANNELS>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31, channel = lane % Stage::LANES * 8;
    float *const staged = reinterpret_cast<float *>(shared) + warp * Stage::FLOATS;
    const Finish finish(p, channel0 + channel);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        sums.stage(staged, i);
        __syncwarp();
        const int oy = oy0 + warp * 2 + i;
#pragma unroll
        for (int r = lane / Stage::LANES; r < Stage::ROWS; r += Stage::STEP) {
            const int ox = ox0 + r;
            if (oy >= p.out_height || ox >= p.out_width) continue;
            float v[8];
            read8(staged + r * Stage::STRIDE + channel, v);
            const int pixel = (image * p.out_height + oy) * p.out_width + ox;
            const uint4 none = make_uint4(0, 0, 0, 0);
            write_output(p, pixel * p.out_channels + channel0 + channel, finish(v, none));
        }
        __syncwarp();
    }
}

#define JP_STEM(kernel, stride)                                                                                        \
    extern "C" __global__ void __launch_bounds__(JP_STEM_THREADS, 3) stem_##kernel##x##kernel(const JpConv p) {        \
        stem<Stem<kernel, stride, JP_STEM_##kernel##X##kernel##_ROW>>(p);                                              \
    }

JP_STEM(3, 1)
JP_STEM(7, 2)
JP_STEM(11, 4)
