#include "reference.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

template <class T> Buffer<T>::Buffer(size_t n) : data(new T[n]), count(n) { memset(data.get(), 0xff, n * sizeof(T)); }
template struct Buffer<Half>;
template struct Buffer<float>;

namespace {
struct Random {
    uint32_t state;
    float next(float scale) {
        state ^= state << 13, state ^= state >> 17, state ^= state << 5;
        return (static_cast<float>(state >> 8) * 0x1p-23f - 1.f) * scale;
    }
};

template <class T> Buffer<T> random_buffer(size_t count, float scale, uint32_t seed) {
    Random random{seed * 2654435761u | 1};
    Buffer<T> b(count);
    for (T &x : b) x = static_cast<T>(random.next(scale));
    return b;
}

float dot(const Half *a, const float *b, int count) {
    float sum = 0;
    for (int i = 0; i < count; i++) sum += static_cast<float>(a[i]) * b[i];
    return sum;
}

// NaN where one is NaN.
float larger(float a, float b) { return std::isnan(a) || a > b ? a : b; }
} // namespace

Buffer<Half> random_halves(size_t count, float scale, uint32_t seed) { return random_buffer<Half>(count, scale, seed); }
Buffer<float> random_floats(size_t count, float scale, uint32_t seed) {
    return random_buffer<float>(count, scale, seed);
}

std::string ConvShape::name() const {
    std::string s = std::to_string(inputs) + "->" + std::to_string(outputs) + " " + std::to_string(kernel) + "x" +
                    std::to_string(kernel) + " stride " + std::to_string(stride) + " pad " + std::to_string(pad) +
                    " on " + std::to_string(batch) + "x" + std::to_string(side) + "x" + std::to_string(in_width());
    if (relu) s += " relu";
    if (residual) s += " residual";
    if (pool == PoolKind::Max) s += " max " + std::to_string(window) + "/" + std::to_string(pool_stride);
    if (pool == PoolKind::Average) s += " average";
    if (nan) s += " NaN";
    return s;
}

std::string LinearShape::name() const {
    return std::to_string(inputs) + "->" + std::to_string(outputs) + (relu ? " relu" : "") + (nan ? " NaN" : "");
}

std::vector<float> reference_conv(const ConvShape &s, int channels, const Buffer<Half> &input,
                                  const Buffer<Half> &weights, const Buffer<float> &bias,
                                  const Buffer<Half> *residual) {
    std::vector<float> in(input.begin(), input.begin() + input.count);
    std::vector<float> out(static_cast<size_t>(s.pixels()) * s.outputs);
    const int oh = s.out_side(), ow = s.out_width();
    size_t at = 0;
    for (int n = 0; n < s.batch; n++)
        for (int oy = 0; oy < oh; oy++)
            for (int ox = 0; ox < ow; ox++)
                for (int o = 0; o < s.outputs; o++, at++) {
                    float sum = bias[o];
                    for (int ky = 0; ky < s.kernel; ky++)
                        for (int kx = 0; kx < s.kernel; kx++) {
                            const int y = oy * s.stride - s.pad + ky, x = ox * s.stride - s.pad + kx;
                            if (y < 0 || y >= s.side || x < 0 || x >= s.in_width()) continue;
                            const size_t pixel = (static_cast<size_t>(n) * s.side + y) * s.in_width() + x;
                            const size_t tap = (static_cast<size_t>(o) * s.kernel + ky) * s.kernel + kx;
                            sum += dot(weights.begin() + tap * s.inputs, in.data() + pixel * channels, s.inputs);
                        }
                    if (residual) sum += static_cast<float>((*residual)[at]);
                    out[at] = s.relu ? larger(sum, 0.f) : sum;
                }
    return out;
}

std::vector<float> reference_max(const float *input, int batch, int height, int width, int channels, int window,
                                 int stride, int pad) {
    const int oh = (height + 2 * pad - window) / stride + 1, ow = (width + 2 * pad - window) / stride + 1;
    std::vector<float> out;
    out.reserve(static_cast<size_t>(batch) * oh * ow * channels);
    for (int n = 0; n < batch; n++)
        for (int oy = 0; oy < oh; oy++)
            for (int ox = 0; ox < ow; ox++)
                for (int c = 0; c < channels; c++) {
                    float best = std::numeric_limits<float>::lowest();
                    for (int y = oy * stride - pad; y < oy * stride - pad + window; y++)
                        for (int x = ox * stride - pad; x < ox * stride - pad + window; x++)
                            if (y >= 0 && y < height && x >= 0 && x < width)
                                best = larger(
                                    best, input[((static_cast<size_t>(n) * height + y) * width + x) * channels + c]);
                    out.push_back(best);
                }
    return out;
}

std::vector<float> reference_average(const float *input, int batch, int pixels, int channels) {
    std::vector<float> out(static_cast<size_t>(batch) * channels);
    for (int n = 0; n < batch; n++)
        for (int i = 0; i < pixels; i++)
            for (int c = 0; c < channels; c++)
                out[static_cast<size_t>(n) * channels + c] +=
                    input[(static_cast<size_t>(n) * pixels + i) * channels + c] / static_cast<float>(pixels);
    return out;
}

std::vector<float> reference_linear(const LinearShape &s, int batch, const Buffer<Half> &input,
                                    const Buffer<Half> &weights, const Buffer<float> &bias) {
    std::vector<float> in(input.begin(), input.begin() + input.count), out;
    for (int n = 0; n < batch; n++)
        for (int o = 0; o < s.outputs; o++) {
            const float sum = bias[o] + dot(weights.begin() + static_cast<size_t>(o) * s.inputs,
                                            in.data() + static_cast<size_t>(n) * s.inputs, s.inputs);
            out.push_back(s.relu ? larger(sum, 0.f) : sum);
        }
    return out;
}

std::string difference(const Buffer<Half> &got, const std::vector<float> &want) {
    if (got.count != want.size())
        return std::to_string(got.count) + " elements, want " + std::to_string(want.size());
    size_t wrong = 0, first = 0;
    for (size_t i = 0; i < got.count; i++) {
        const float stored = static_cast<float>(static_cast<Half>(want[i])); // infinite where fp16 has no such number
        if (!std::isfinite(stored) && (std::isnan(stored) ? std::isnan(static_cast<float>(got[i])) : got[i] == stored))
            continue;
        // Rounding to fp16 is at most 2^-11 of the value; the rest is for the order of fp32 sums.
        const float error = std::abs(static_cast<float>(got[i]) - want[i]);
        if (error <= 1e-3f * std::abs(want[i]) + 1e-4f) continue; // false for NaN
        if (wrong++ == 0) first = i;
    }
    if (wrong == 0) return "";
    return std::to_string(wrong) + " of " + std::to_string(got.count) + " wrong, element " + std::to_string(first) +
           " is " + std::to_string(static_cast<float>(got[first])) + ", want " + std::to_string(want[first]);
}
