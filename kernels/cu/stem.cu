// The first convolution: 3 channels, stored as 4, so that a filter row over neighbouring pixels is one run of memory
// and a tensor-core operand can be read straight from the image patch in shared memory.
#include "warp_tile.cuh"

template <int KERNEL_, int STRIDE_, int ROW_> struct Stem {
    static constexpr int KERNEL = KERNEL_, STRIDE = STRIDE_, ROW = ROW_;
    static constexpr int PATCH_ROWS = (JP_STEM_ROWS - 1) * STRIDE + KERNEL;
    static constexpr int PATCH_COLS = (JP_STEM_COLS - 1) * STRIDE + ROW / 4; // pixels
    static constexpr int PATCH = (PATCH_ROWS * PATCH_COLS * 4 + 15) / 16 * 16; // elements
    static constexpr int WARP_M = JP_STEM_ROWS * JP_STEM_COLS / (JP_STEM_THREADS / 32);
    static constexpr int STAGED = JP_STEM_THREADS / 32 * Staging<JP_STEM_CHANNELS>::FLOATS * 2; // elements
#if __CUDA_ARCH__ >= 800
    static constexpr int FILTER = JP_STEM_CHANNELS * ROW; // elements of one filter row
    static constexpr int RING = 3;                        // filter rows in shared memory
    static constexpr int USED = PATCH + RING * FILTER;

    // Where 8 elements of a channel's filter row lie: permuted so that neither ldmatrix's eight channels nor eight
    // neighbouring copies meet in a bank.
    static __device__ __forceinline__ int filter_offset(int channel, int chunk) {
        return channel * ROW + ((chunk ^ (ROW == 32 ? channel >> 1 & 3 : channel >> 2 & 1)) << 3);
    }
    // Where a pixel of a patch row lies. At stride 4 the operand's rows are 32 bytes apart, so that every fifth meets the
    // first in a bank: of every second 16 pixels, the pairs of each four change places.
    static __device__ __forceinline__ int patch_pixel(int column) {
        return STRIDE == 4 ? column ^ (column >> 4 & 1) << 1 : column;
    }
#else
    static constexpr int FILTER_STRIDE = ROW + 8;
    static constexpr int FILTER = JP_STEM_CHANNELS * FILTER_STRIDE;
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
    static_assert(JP_STEM_CHANNELS * CHUNKS % JP_STEM_THREADS == 0, "every thread copies as much");
    const __half *const from =
        static_cast<const __half *>(p.weights) + (static_cast<size_t>(ky) * p.out_channels + channel0) * S::ROW;
#pragma unroll
    for (int k = 0; k < JP_STEM_CHANNELS * CHUNKS / JP_STEM_THREADS; k++) {
        const int i = threadIdx.x + k * JP_STEM_THREADS;
        copy16(shared_at(ring + ky % S::RING * S::FILTER + S::filter_offset(i / CHUNKS, i % CHUNKS)), from + i * 8, true);
    }
}

template <class S>
__device__ __forceinline__ void copy_patch(const JpConv &p, __half *patch, int image, int y0, int x0) {
    const __half *const from = static_cast<const __half *>(p.input);
    for (int i = threadIdx.x; i < S::PATCH_ROWS * S::PATCH_COLS; i += JP_STEM_THREADS) {
        const int y = y0 + i / S::PATCH_COLS, x = x0 + i % S::PATCH_COLS;
        const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
        const int at = inside ? ((image * p.height + y) * p.width + x) * JP_IMAGE_CHANNELS : 0;
        const int pixel = i / S::PATCH_COLS * S::PATCH_COLS + S::patch_pixel(i % S::PATCH_COLS);
        copy8(shared_at(patch + pixel * 4), from + at, inside);
    }
}

// The products of one filter row.
template <class S>
__device__ __forceinline__ void sum_row(const __half *patch, const __half *filter, int ky,
                                        WarpTile<S::WARP_M, JP_STEM_CHANNELS> &sums) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
#pragma unroll
    for (int k = 0; k < S::ROW / 16; k++) {
        // The layout of mma's first operand: rows lane / 4 and 8 below, columns (lane % 4) * 2 and 8 behind. Eight rows
        // are a multiple of 32 pixels at stride 4, so that patch_pixel does the same there.
        const int pixel = (lane >> 2) * S::STRIDE + k * 4 + ((lane & 3) >> 1), pair = (lane & 1) * 2;
        const int low = S::patch_pixel(pixel) * 4 + pair, high = S::patch_pixel(pixel + 2) * 4 + pair;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const __half *const row = patch + ((warp * 2 + i) * S::STRIDE + ky) * S::PATCH_COLS * 4;
            sums.a[i][0] = load_shared<unsigned>(row + low);
            sums.a[i][1] = load_shared<unsigned>(row + low + 8 * S::STRIDE * 4);
            sums.a[i][2] = load_shared<unsigned>(row + high);
            sums.a[i][3] = load_shared<unsigned>(row + high + 8 * S::STRIDE * 4);
        }
        const int channel = (lane & 7) + ((lane >> 4) << 3), chunk = k * 2 + ((lane >> 3) & 1);
#pragma unroll
        for (int j = 0; j < JP_STEM_CHANNELS / 16; j++) // 16 channels further on the permutation is the same
            ldmatrix4(sums.b[j], shared_at(filter + S::filter_offset(channel, chunk)) + j * 32 * S::ROW);
        sums.multiply();
    }
}

template <class S>
__device__ __forceinline__ void sum_products(const JpConv &p, __half *shared, int image, int y0, int x0, int channel0,
                                             WarpTile<S::WARP_M, JP_STEM_CHANNELS> &sums) {
    __half *const patch = shared, *const ring = shared + S::PATCH;
    copy_patch<S>(p, patch, image, y0, x0);
    if (S::KERNEL <= S::RING) { // the whole filter at once
#pragma unroll
        for (int ky = 0; ky < S::KERNEL; ky++) copy_filter_row<S>(p, ring, channel0, ky);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
#pragma unroll
        for (int ky = 0; ky < S::KERNEL; ky++) sum_row<S>(patch, ring + ky * S::FILTER, ky, sums);
        return;
    }
    copy_filter_row<S>(p, ring, channel0, 0);
    copy_commit();
    copy_filter_row<S>(p, ring, channel0, 1);
    copy_commit();
    for (int ky = 0; ky < S::KERNEL; ky++) {
        copy_wait<1>();
        __syncthreads();
        if (ky + 2 < S::KERNEL) copy_filter_row<S>(p, ring, channel0, ky + 2);
        copy_commit();
        sum_row<S>(patch, ring + ky % S::RING * S::FILTER, ky, sums);
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
            Stage::read8(staged, r, channel, v);
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
