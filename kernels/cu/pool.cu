// Pooling that does not fit behind a convolution's own tile.
#include "epilogue.cuh"

extern "C" __global__ void __launch_bounds__(JP_POINTWISE_THREADS) max_pool(const JpPool p) {
    const int groups = p.channels / JP_POINTWISE_CHANNELS;
    const int index = blockIdx.x * JP_POINTWISE_THREADS + threadIdx.x;
    if (index >= p.batch * p.out_height * p.out_width * groups) return;
    const int pixel = index / groups, channel = index % groups * JP_POINTWISE_CHANNELS;
    const int x0 = pixel % p.out_width * p.stride - p.pad;
    const int y0 = pixel / p.out_width % p.out_height * p.stride - p.pad;
    const int image = pixel / (p.out_width * p.out_height);
    float best[8], v[8];
#pragma unroll
    for (int i = 0; i < 8; i++) best[i] = JP_MINUS_INFINITY;
    for (int y = max(y0, 0); y < min(y0 + p.window, p.height); y++) {
        for (int x = max(x0, 0); x < min(x0 + p.window, p.width); x++) {
            const int at = ((image * p.height + y) * p.width + x) * p.channels + channel;
            unpack8(*reinterpret_cast<const uint4 *>(static_cast<const __half *>(p.input) + at), v);
            maximum8(best, v);
        }
    }
    *reinterpret_cast<uint4 *>(static_cast<__half *>(p.output) + pixel * p.channels + channel) = pack8(best);
}

// One block per image and JP_AVERAGE_CHANNELS channels: 8 channels a lane, a warp per eighth of the pixels.
extern "C" __global__ void __launch_bounds__(JP_AVERAGE_THREADS) global_average(const JpPool p) {
    constexpr int WARPS = JP_AVERAGE_THREADS / 32;
    static_assert(JP_AVERAGE_CHANNELS == 32 * 8 && JP_AVERAGE_CHANNELS == JP_AVERAGE_THREADS,
                  "8 channels a lane, then one a thread");
    JP_SHARED(float, sums, WARPS *JP_AVERAGE_CHANNELS);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int channel = blockIdx.x * JP_AVERAGE_CHANNELS + lane * 8, pixels = p.height * p.width;
    float sum[8] = {}, v[8];
    if (channel < p.channels) {
        const __half *from = static_cast<const __half *>(p.input) + blockIdx.y * pixels * p.channels + channel;
#pragma unroll 4
        for (int i = warp; i < pixels; i += WARPS) {
            unpack8(*reinterpret_cast<const uint4 *>(from + i * p.channels), v);
#pragma unroll
            for (int k = 0; k < 8; k++) sum[k] += v[k];
        }
    }
    write8(sums + warp * JP_AVERAGE_CHANNELS + lane * 8, sum);
    __syncthreads();
    // One channel a thread: of reads of eight NVRTC 11.8 makes one program or another from run to run.
    const int mine = blockIdx.x * JP_AVERAGE_CHANNELS + threadIdx.x;
    if (mine >= p.channels) return;
    float total = sums[threadIdx.x];
    for (int w = 1; w < WARPS; w++) total += sums[w * JP_AVERAGE_CHANNELS + threadIdx.x];
    static_cast<__half *>(p.output)[blockIdx.y * p.channels + mine] = __float2half_rn(total / pixels);
}
