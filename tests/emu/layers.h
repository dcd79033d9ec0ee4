// Runs layers on the emulated kernels as the launcher would, and compares them with the reference.
#pragma once
#include "reference.h"

// A conv_* kernel's tile.
struct Tile {
    int m, n, k;
    std::string kernel() const { return "conv_" + std::to_string(m) + "x" + std::to_string(n); }
    size_t shared_bytes() const; // for the body that is compiled in
};
extern const std::vector<Tile> TILES;

int steps(const ConvShape &shape, const Tile &tile);

// Each returns what differs, empty where nothing does.
std::string run_conv(const ConvShape &shape, const Tile &tile, int splits);
std::string run_stem(const ConvShape &shape);
std::string run_max_pool(int batch, int height, int width, int channels, int window, int stride, int pad,
                         bool nan = false);
std::string run_average(int batch, int height, int width, int channels);
std::string run_linear(const LinearShape &shape);
std::string run_marker();

// OS threads per launch.
extern unsigned threads;
