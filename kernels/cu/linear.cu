// A fully connected layer for one input vector: every weight is read once, so all that counts is reading them fast.
#include "epilogue.cuh"

// Adds `a * b` of 8 elements each.
__device__ __forceinline__ float dot8(uint4 a, const float (&b)[8]) {
    float f[8], sum = 0.f;
    unpack8(a, f);
#pragma unroll
    for (int i = 0; i < 8; i++) sum = fmaf(f[i], b[i], sum);
    return sum;
}

// A block's threads share JP_LINEAR_OUTPUTS rows: each 16 bytes of the input serve four rows, and a thread has
// eight 16-byte reads of weights under way (two chunks of four rows).
extern "C" __global__ void __launch_bounds__(JP_LINEAR_THREADS) linear_1(const JpLinear p) {
    constexpr int OUTPUTS = JP_LINEAR_OUTPUTS, WARPS = JP_LINEAR_THREADS / 32;
    JP_SHARED(float, partial, WARPS *OUTPUTS);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, output0 = blockIdx.x * OUTPUTS;
    const uint4 *const input = static_cast<const uint4 *>(p.input);
    const int chunks = p.inputs / 8;
    const uint4 *rows[OUTPUTS];
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) // behind the last output the last row is read again
        rows[o] = static_cast<const uint4 *>(p.weights) + static_cast<size_t>(min(output0 + o, p.outputs - 1)) * chunks;

    float sum[OUTPUTS] = {};
#pragma unroll 2
    for (int c = threadIdx.x; c < chunks; c += JP_LINEAR_THREADS) {
        uint4 w[OUTPUTS];
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) w[o] = load_once(rows[o] + c);
        float x[8];
        unpack8(input[c], x);
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++) sum[o] += dot8(w[o], x);
    }
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum[o] += __shfl_xor_sync(0xffffffffu, sum[o], step);
        if (lane == 0) partial[warp * OUTPUTS + o] = sum[o];
    }
    __syncthreads();
    const int output = output0 + threadIdx.x;
    if (threadIdx.x >= OUTPUTS || output >= p.outputs) return;
    float total = static_cast<const float *>(p.bias)[output];
#pragma unroll
    for (int w = 0; w < WARPS; w++) total += partial[w * OUTPUTS + threadIdx.x];
    static_cast<__half *>(p.output)[output] = __float2half_rn(p.relu ? larger(total, 0.f) : total);
}
