#include "layers.h"
#include "abi.h"
#include "fiber.h"
#include <cmath>
#include <cstring>

unsigned threads = 1;

#if __CUDA_ARCH__ >= 800
#define BYTES(m, n) JP_CONV_##m##X##n##_SHARED
#else
#define BYTES(m, n) JP_CONV_##m##X##n##_SHARED_SM72
#endif
#define TILE(m, n) {m, n, JP_CONV_##m##X##n##_K}
const std::vector<Tile> TILES = {TILE(256, 64), TILE(128, 128), TILE(128, 64),
                                 TILE(64, 128), TILE(64, 64),   TILE(32, 64)};

size_t Tile::shared_bytes() const {
    static const size_t bytes[] = {BYTES(256, 64), BYTES(128, 128), BYTES(128, 64),
                                   BYTES(64, 128), BYTES(64, 64),   BYTES(32, 64)};
    for (size_t i = 0; i < TILES.size(); i++)
        if (TILES[i].m == m && TILES[i].n == n) return bytes[i];
    emu::fail("no tile %d x %d", m, n);
}

namespace {
unsigned up(size_t a, size_t b) { return static_cast<unsigned>((a + b - 1) / b); }

template <class Params> void launch(const std::string &name, dim3 grid, unsigned block, size_t shared, Params params) {
    const emu::Kernel *kernel = emu::find(name.c_str());
    if (!kernel) emu::fail("no kernel %s", name.c_str());
    void *list[] = {&params};
    emu::launch(*kernel, grid, {block, 1, 1}, shared, list, threads);
}

// Weights so small that sums stay near 1.
float weight_scale(int terms) { return std::sqrt(3.f / static_cast<float>(terms)); }

JpConv params(const ConvShape &s, int channels) {
    JpConv p{};
    p.batch = s.batch, p.height = s.side, p.width = s.in_width(), p.channels = channels;
    p.out_height = s.out_side(), p.out_width = s.out_width(), p.out_channels = s.outputs;
    p.kernel = s.kernel, p.stride = s.stride, p.pad = s.pad, p.relu = s.relu, p.splits = 1;
    return p;
}

// max_pool or global_average behind a convolution.
std::string run_pool(const ConvShape &s, const Buffer<Half> &input) {
    const int height = s.out_side(), width = s.out_width();
    if (s.pool == PoolKind::None) return "";
    JpPool p{};
    p.input = input.begin();
    p.batch = s.batch, p.height = height, p.width = width, p.channels = s.outputs;
    std::vector<float> in(input.begin(), input.begin() + input.count), want;
    if (s.pool == PoolKind::Max) {
        want = reference_max(in.data(), s.batch, height, width, s.outputs, s.window, s.pool_stride, s.pool_pad);
        p.window = s.window, p.stride = s.pool_stride, p.pad = s.pool_pad;
        p.out_height = (height + 2 * s.pool_pad - s.window) / s.pool_stride + 1;
        p.out_width = (width + 2 * s.pool_pad - s.window) / s.pool_stride + 1;
    } else {
        want = reference_average(in.data(), s.batch, height * width, s.outputs);
        p.out_height = p.out_width = 1;
    }
    Buffer<Half> output(want.size());
    p.output = output.begin();
    if (s.pool == PoolKind::Max)
        launch("max_pool", {up(output.count / JP_POINTWISE_CHANNELS, JP_POINTWISE_THREADS), 1, 1},
               JP_POINTWISE_THREADS, 0, p);
    else
        launch("global_average", {up(s.outputs, JP_AVERAGE_CHANNELS), static_cast<unsigned>(s.batch), 1},
               JP_AVERAGE_THREADS, 0, p);
    const std::string wrong = difference(output, want);
    return wrong.empty() ? "" : "pool: " + wrong;
}
} // namespace

int steps(const ConvShape &s, const Tile &t) { return s.kernel * s.kernel * static_cast<int>(up(s.inputs, t.k)); }

std::string run_conv(const ConvShape &s, const Tile &tile, int splits) {
    const int taps = s.kernel * s.kernel;
    auto input = random_halves(static_cast<size_t>(s.batch) * s.side * s.in_width() * s.inputs, 1.f, 1);
    if (s.nan) input[input.count / 2] = NAN;
    const auto weights = random_halves(static_cast<size_t>(s.outputs) * taps * s.inputs, weight_scale(taps * s.inputs), 2);
    const auto bias = random_floats(s.outputs, 0.5f, 3);
    const size_t outputs = static_cast<size_t>(s.pixels()) * s.outputs;
    const auto residual = random_halves(s.residual ? outputs : 0, 1.f, 4);

    std::vector<float> want =
        reference_conv(s, s.inputs, input, weights, bias, s.residual ? &residual : nullptr);
    JpConv p = params(s, s.inputs);
    p.splits = splits;
    p.pool2 = s.pool == PoolKind::Max && s.window == 2 && s.pool_stride == 2 && s.pool_pad == 0 && !s.residual;
    size_t rows = s.pixels();
    if (p.pool2) {
        rows = static_cast<size_t>(s.batch) * (s.out_side() / 2) * (s.out_width() / 2) * 4;
        want = reference_max(want.data(), s.batch, s.out_side(), s.out_width(), s.outputs, 2, 2, 0);
    }
    Buffer<Half> output(want.size());
    Buffer<float> workspace(splits > 1 ? splits * rows * s.outputs : 0);
    p.input = input.begin(), p.weights = weights.begin(), p.bias = bias.begin(), p.output = output.begin();
    p.residual = s.residual ? residual.begin() : nullptr;
    p.workspace = splits > 1 ? workspace.begin() : nullptr;
    launch(tile.kernel(), {up(rows, tile.m) * up(s.outputs, tile.n), static_cast<unsigned>(splits), 1},
           JP_CONV_THREADS, tile.shared_bytes(), p);
    if (splits > 1)
        launch("conv_reduce", {up(output.count / JP_POINTWISE_CHANNELS, JP_POINTWISE_THREADS), 1, 1},
               JP_POINTWISE_THREADS, 0, p);
    const std::string wrong = difference(output, want);
    return !wrong.empty() || p.pool2 ? wrong : run_pool(s, output);
}

std::string run_stem(const ConvShape &s) {
    const int row = s.kernel == 3 ? JP_STEM_3X3_ROW : s.kernel == 7 ? JP_STEM_7X7_ROW : JP_STEM_11X11_ROW;
    auto input = random_halves(static_cast<size_t>(s.batch) * s.side * s.in_width() * JP_IMAGE_CHANNELS, 1.f, 1);
    for (size_t i = 3; i < input.count; i += 4) input[i] = 0;
    const auto weights =
        random_halves(static_cast<size_t>(s.outputs) * s.kernel * s.kernel * 3, weight_scale(s.kernel * s.kernel * 3), 2);
    const auto bias = random_floats(s.outputs, 0.5f, 3);
    Buffer<Half> stored(static_cast<size_t>(s.kernel) * s.outputs * row);
    for (Half &h : stored) h = 0;
    for (int o = 0; o < s.outputs; o++)
        for (int ky = 0; ky < s.kernel; ky++)
            for (int kx = 0; kx < s.kernel; kx++)
                for (int c = 0; c < 3; c++)
                    stored[(static_cast<size_t>(ky) * s.outputs + o) * row + kx * 4 + c] =
                        weights[((static_cast<size_t>(o) * s.kernel + ky) * s.kernel + kx) * 3 + c];
    const std::vector<float> want = reference_conv(s, JP_IMAGE_CHANNELS, input, weights, bias, nullptr);
    Buffer<Half> output(want.size());
    JpConv p = params(s, JP_IMAGE_CHANNELS);
    p.input = input.begin(), p.weights = stored.begin(), p.bias = bias.begin(), p.output = output.begin();
    const std::string side = std::to_string(s.kernel);
    launch("stem_" + side + "x" + side,
           {up(s.out_width(), JP_STEM_COLS), up(s.out_side(), JP_STEM_ROWS),
            static_cast<unsigned>(s.batch * s.outputs / JP_STEM_CHANNELS)},
           JP_STEM_THREADS, 0, p);
    const std::string wrong = difference(output, want);
    return !wrong.empty() ? wrong : run_pool(s, output);
}

std::string run_max_pool(int batch, int height, int width, int channels, int window, int stride, int pad, bool nan) {
    ConvShape s{channels, channels, 1, 1, 0, height, false, false, PoolKind::Max, window, stride, pad, batch, width};
    auto input = random_halves(static_cast<size_t>(batch) * height * width * channels, 1.f, 5);
    if (nan) input[input.count / 2] = NAN;
    return run_pool(s, input);
}

std::string run_average(int batch, int height, int width, int channels) {
    ConvShape s{channels, channels, 1, 1, 0, height, false, false, PoolKind::Average, 0, 0, 0, batch, width};
    return run_pool(s, random_halves(static_cast<size_t>(batch) * height * width * channels, 1.f, 6));
}

std::string run_linear(const LinearShape &s) {
    auto input = random_halves(s.inputs, 1.f, 1);
    if (s.nan) input[input.count / 2] = NAN;
    const auto weights = random_halves(static_cast<size_t>(s.outputs) * s.inputs, weight_scale(s.inputs), 2);
    const auto bias = random_floats(s.outputs, 0.5f, 3);
    Buffer<Half> output(s.outputs);
    JpLinear p{input.begin(), weights.begin(), bias.begin(), output.begin(), s.inputs, s.outputs, s.relu, 0};
    launch("linear_1", {up(s.outputs, JP_LINEAR_OUTPUTS), 1, 1}, JP_LINEAR_THREADS, 0, p);
    return difference(output, reference_linear(s, 1, input, weights, bias));
}

std::string run_marker() {
    uint32_t word = 0, counter = 41;
    launch("marker", {1, 1, 1}, 1, 0, JpMarker{&word, &counter});
    return word == 42 && counter == 42 ? "" : "the word is " + std::to_string(word) + ", want 42";
}
