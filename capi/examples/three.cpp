// The same as three.c, in C++.
#include "jetpace.hpp"
#include "standin.h"

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <thread>

namespace {
struct Block {
    const char *name;
    unsigned long long operations, bytes;
};
constexpr std::array<Block, 3> blocks{ {
    { "stem", 6'000'000'000, 60'000'000 },
    { "body", 18'000'000'000, 20'000'000 },
    { "head", 2'000'000'000, 100'000'000 },
} };
} // namespace

int main(int argc, char **argv)
{
    const long frames = argc > 1 ? std::atol(argv[1]) : 0;
    const std::chrono::duration<double, std::milli> period(argc > 2 ? std::atof(argv[2]) : 0);
    const int gpu = gpu_open();
    try {
        jetpace_cpp::Pace pace;
        std::array<std::uint32_t, blocks.size()> ids{};
        for (std::size_t b = 0; b < blocks.size(); b++)
            ids[b] = pace.find(blocks[b].name);
        auto due = std::chrono::steady_clock::now();
        for (long n = 0; frames == 0 || n < frames; n++) {
            std::uint64_t busy = 0;
            {
                jetpace_cpp::Frame frame(pace);
                const std::uint32_t size = frame.size(1);
                for (std::size_t b = 0; b < blocks.size(); b++) {
                    std::uint64_t took = 0;
                    frame.run(ids[b], size, [&] {
                        return took = gpu_run(gpu, blocks[b].operations * size, blocks[b].bytes * size);
                    });
                    busy += took;
                }
            }
            if (frames > 0)
                std::cout << static_cast<double>(busy) / 1e6 << '\n';
            due += std::chrono::duration_cast<std::chrono::steady_clock::duration>(period);
            std::this_thread::sleep_until(due);
        }
        std::cerr << frames << " frames, " << pace.stats().faults << " faults\n";
        return 0;
    } catch (const jetpace_cpp::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
