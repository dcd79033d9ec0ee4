// Convolution as an implicit GEMM: rows are output pixels, columns output channels, the inner dimension runs over
// taps and input channels. Nothing is laid out anew in memory: each step gathers M pixels x K channels of one tap.
#include "conv_loader.cuh"
#include "warp_tile.cuh"

// Where a lane stands in a staged piece: it has 8 channels of every S::STEP-th row.
template <class T> struct LanePlace {
    using S = Staging<T::WARP_N>;
    const int lane = threadIdx.x & 31, first = lane / S::LANES, column = lane % S::LANES * 8;
};

// The result.
template <class T>
__device__ __forceinline__ void write_pixels(const JpConv &p, const WarpTile<T::WARP_M, T::WARP_N> &sums,
                                             float *staged, int row0, int channel0, int rows) {
    using S = Staging<T::WARP_N>;
    const LanePlace<T> at{};
    const int channel = channel0 + at.column;
    const bool wanted = channel < p.out_channels;
    const Finish finish(p, wanted ? channel : 0);
#pragma unroll
    for (int i = 0; i < T::WARP_M / 16; i++) {
        const int row = row0 + i * 16 + at.first, element = row * p.out_channels + channel;
        // Before the way through shared memory, so that the reads are under way meanwhile.
        uint4 residual[S::ROWS / S::STEP];
#pragma unroll
        for (int r = 0; r < S::ROWS / S::STEP; r++) {
            residual[r] = make_uint4(0, 0, 0, 0);
            if (wanted && row + r * S::STEP < rows)
                residual[r] = read_residual(p, element + r * S::STEP * p.out_channels);
        }
        sums.stage(staged, i);
        __syncwarp();
#pragma unroll
        for (int r = 0; r < S::ROWS / S::STEP; r++) {
            float v[8];
            S::read8(staged, at.first + r * S::STEP, at.column, v);
            if (wanted && row + r * S::STEP < rows)
                write_output(p, element + r * S::STEP * p.out_channels, finish(v, residual[r]));
        }
        __syncwarp();
    }
}

// The maxima of 2 x 2 pixels, which are four rows next to each other.
template <class T>
__device__ __forceinline__ void write_maxima(const JpConv &p, const WarpTile<T::WARP_M, T::WARP_N> &sums,
                                             float *staged, int row0, int channel0, int rows) {
    using S = Staging<T::WARP_N>;
    const LanePlace<T> at{};
    const int channel = channel0 + at.column;
    const bool wanted = channel < p.out_channels;
    const Finish finish(p, wanted ? channel : 0);
#pragma unroll
    for (int i = 0; i < T::WARP_M / 16; i++) {
        sums.stage(staged, i);
        __syncwarp();
        const int row = row0 + i * 16 + at.first * 4;
        if (at.first < 4 && wanted && row < rows) {
            float best[8], v[8];
            S::read8(staged, at.first * 4, at.column, best);
#pragma unroll
            for (int k = 1; k < 4; k++) {
                S::read8(staged, at.first * 4 + k, at.column, v);
                maximum8(best, v);
            }
            write_output(p, row / 4 * p.out_channels + channel, finish(best, make_uint4(0, 0, 0, 0)));
        }
        __syncwarp();
    }
}

// This split's sums, for conv_reduce.
template <class T>
__device__ __forceinline__ void write_partial(const JpConv &p, const WarpTile<T::WARP_M, T::WARP_N> &sums,
                                              float *staged, int row0, int channel0, int rows) {
    using S = Staging<T::WARP_N>;
    const LanePlace<T> at{};
    const int channel = channel0 + at.column;
    float *const plane =
        static_cast<float *>(p.workspace) + static_cast<size_t>(blockIdx.y) * rows * p.out_channels + channel;
#pragma unroll
    for (int i = 0; i < T::WARP_M / 16; i++) {
        sums.stage(staged, i);
        __syncwarp();
#pragma unroll
        for (int r = at.first; r < S::ROWS; r += S::STEP) {
            const int row = row0 + i * 16 + r;
            float v[8];
            S::read8(staged, r, at.column, v);
            if (channel < p.out_channels && row < rows) write8(plane + static_cast<size_t>(row) * p.out_channels, v);
        }
        __syncwarp();
    }
}

template <class T> __device__ __forceinline__ void conv(const JpConv &p) {
    __half *const shared = reinterpret_cast<__half *>(dynamic_shared());
    const int tiles_n = ceil_div(p.out_channels, T::N);
    const int row0 = blockIdx.x / tiles_n * T::M, channel0 = blockIdx.x % tiles_n * T::N;
    const int warp = threadIdx.x / 32;
    const int warp_m = warp / T::WARPS_N * T::WARP_M, warp_n = warp % T::WARPS_N * T::WARP_N;

    const int all = p.kernel * p.kernel * ceil_div(p.channels, T::K);
    const int first = static_cast<int>(static_cast<long long>(blockIdx.y) * all / p.splits);
    const int steps = static_cast<int>((blockIdx.y + 1LL) * all / p.splits) - first;

    ConvLoader<T> loader(p, row0, channel0, first);
    WarpTile<T::WARP_M, T::WARP_N> sums;
    sums.clear();
#if __CUDA_ARCH__ >= 800
    constexpr int STAGE = 2 * T::STAGE; // bytes
    const int a = 2 * warp_m * SharedTile<T::K>::STRIDE, b = 2 * (T::M + warp_n) * SharedTile<T::K>::STRIDE;
    const SharedAt stages = shared_at(shared);
#pragma unroll
    for (int s = 0; s < T::STAGES - 1; s++) {
        loader.copy(stages + s * STAGE, s < steps);
        copy_commit();
    }
    int reading = 0, filling = (T::STAGES - 1) * STAGE;
    for (int step = 0; step < steps; step++) {
        copy_wait<T::STAGES - 2>();
        __syncthreads();
        sums.template load<T::K>(stages + reading + a, stages + reading + b, 0);
        // Everyone has left the stage that is filled now: it was read before the barrier. Behind the last step it is
        // filled with zeros, as a branch here would keep the copies' addresses from mixing with the products.
        loader.copy(stages + filling, step + T::STAGES - 1 < steps);
        copy_commit();
        sums.multiply();
#pragma unroll
        for (int k = 1; k < T::K / 16; k++) {
            sums.template load<T::K>(stages + reading + a, stages + reading + b, k);
            sums.multiply();
        }
        filling = reading;
        reading = reading == (T::STAGES - 1) * STAGE ? 0 : reading + STAGE;
    }
    copy_wait<0>(); // of zeros, which would fall into the epilogue
#else
    const __half *const A = shared + warp_m * SharedTile<T::K>::STRIDE;
    const __half *const B = shared + (T::M + warp_n) * SharedTile<T::K>::STRIDE;
    loader.fetch();
    loader.store(shared);
    for (int step = 0; step < steps; step++) {
        const int reading = (step & 1) * T::STAGE;
        __syncthreads();
        const bool more = step + 1 < steps;
        if (more) loader.fetch();
#pragma unroll
        for (int k = 0; k < T::K / 16; k++)
            sums.template multiply<SharedTile<T::K>::STRIDE>(A + reading, B + reading, k);
        if (more) loader.store(shared + T::STAGE - reading);
    }
#endif
    __syncthreads();
    float *const staged = reinterpret_cast<float *>(shared) + warp * Staging<T::WARP_N>::FLOATS;
    const int rows = conv_rows(p);
    if (p.splits > 1)
        write_partial<T>(p, sums, staged, row0 + warp_m, channel0 + warp_n, rows);
    else if (p.pool2)
        write_maxima<T>(p, sums, staged, row0 + warp_m, channel0 + warp_n, rows);
    else
        write_pixels<T>(p, sums, staged, row0 + warp_m, channel0 + warp_n, rows);
}

// Blocks per multiprocessor as shared memory allows on sm_87 (164 KiB) bound the registers: 2 blocks leave 255, 3 blocks
// 168, 4 blocks 128. Warp tiles of 64 x 64 read 4 KiB of shared memory for 64 cycles of tensor work.
#define JP_CONV(m, n, warps_m, warps_n, stages, blocks)                                                                \
    extern "C" __global__ void __launch_bounds__(JP_CONV_THREADS, blocks) conv_##m##x##n(const JpConv p) {             \
        using T = ConvTile<m, n, JP_CONV_##m##X##n##_K, warps_m, warps_n, stages>;                                     \
        static_assert(T::SHARED_BYTES == JP_CONV_SHARED_BYTES(m, n), "abi.h");                                         \
        conv<T>(p);                                                                                                    \
    }

JP_CONV(256, 64, 4, 1, 4, 2)
JP_CONV(128, 128, 2, 2, 4, 2)
JP_CONV(128, 64, 2, 2, 4, 3)
JP_CONV(64, 128, 2, 2, 4, 3)
JP_CONV(64, 64, 2, 2, 3, 3)
JP_CONV(32, 64, 2, 2, 3, 4)

// Adds the partial sums of split-K and finishes as conv_* does.
extern "C" __global__ void __launch_bounds__(JP_POINTWISE_THREADS) conv_reduce(const JpConv p) {
    const int rows = conv_rows(p), window = p.pool2 ? 4 : 1;
    const int groups = p.out_channels / JP_POINTWISE_CHANNELS;
    const int index = blockIdx.x * JP_POINTWISE_THREADS + threadIdx.x;
    if (index >= rows / window * groups) return;
    const int pixel = index / groups, channel = index % groups * JP_POINTWISE_CHANNELS;
    const size_t plane = static_cast<size_t>(rows) * p.out_channels;
    const int element = pixel * p.out_channels + channel;
    const uint4 residual = read_residual(p, element);
    float best[8];
    for (int k = 0; k < window; k++) {
        const float *from =
            static_cast<const float *>(p.workspace) + static_cast<size_t>(pixel * window + k) * p.out_channels + channel;
        float sum[8], part[8];
        read8(from, sum);
#pragma unroll 4
        for (int s = 1; s < p.splits; s++) {
            read8(from + s * plane, part);
#pragma unroll
            for (int i = 0; i < 8; i++) sum[i] += part[i];
        }
        if (k > 0) maximum8(sum, best);
#pragma unroll
        for (int i = 0; i < 8; i++) best[i] = sum[i];
    }
    write_output(p, element, Finish(p, channel)(best, residual));
}
