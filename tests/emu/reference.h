// The layers in plain fp32 loops, and the tensors that both sides work on.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

using Half = _Float16;

// Heap memory of exactly `count` elements, so that a sanitizer sees an access behind it; starts as NaN.
template <class T> struct Buffer {
    std::unique_ptr<T[]> data;
    size_t count;
    explicit Buffer(size_t n);
    T *begin() { return data.get(); }
    T *end() { return data.get() + count; }
    const T *begin() const { return data.get(); }
    T &operator[](size_t i) { return data[i]; }
    const T &operator[](size_t i) const { return data[i]; }
};

// Uniform values in [-scale, scale], the same for a seed.
Buffer<Half> random_halves(size_t count, float scale, uint32_t seed);
Buffer<float> random_floats(size_t count, float scale, uint32_t seed);

enum class PoolKind { None, Max, Average };

struct ConvShape {
    int inputs, outputs, kernel, stride, pad, side;
    bool relu, residual;
    PoolKind pool = PoolKind::None;
    int window = 0, pool_stride = 0, pool_pad = 0;
    int batch = 1, width = 0; // width 0: square
    bool nan = false;         // one element of the input is not a number

    int in_width() const { return width ? width : side; }
    int out_side() const { return (side + 2 * pad - kernel) / stride + 1; }
    int out_width() const { return (in_width() + 2 * pad - kernel) / stride + 1; }
    int pixels() const { return batch * out_side() * out_width(); }
    double flops() const { return 2.0 * pixels() * outputs * inputs * kernel * kernel; }
    std::string name() const;
};

struct LinearShape {
    int inputs, outputs;
    bool relu;
    bool nan = false;
    std::string name() const;
};

// NHWC; `channels` is how many the input has in memory, of which the first shape.inputs count.
std::vector<float> reference_conv(const ConvShape &shape, int channels, const Buffer<Half> &input,
                                  const Buffer<Half> &weights, const Buffer<float> &bias,
                                  const Buffer<Half> *residual);
std::vector<float> reference_max(const float *input, int batch, int height, int width, int channels, int window,
                                 int stride, int pad);
std::vector<float> reference_average(const float *input, int batch, int pixels, int channels);
std::vector<float> reference_linear(const LinearShape &shape, int batch, const Buffer<Half> &input,
                                    const Buffer<Half> &weights, const Buffer<float> &bias);

// Empty where every element of `got` is the rounded `want`, else what differs.
std::string difference(const Buffer<Half> &got, const std::vector<float> &want);
