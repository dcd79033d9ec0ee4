// The same as frames.c, with the clock put back by a destructor, also when something throws.
#include "jetpace.hpp"

#include <cerrno>
#include <cstring>
#include <iostream>

int main(int argc, char **argv)
{
    if (argc < 2) {
        std::cerr << "usage: " << argv[0] << " TABLE [BOARD [SOCKET]]\n";
        return 2;
    }
    try {
        jetpace_cpp::Pace pace(argv[1], argc > 2 ? argv[2] : nullptr, argc > 3 ? argv[3] : nullptr);
        const std::uint32_t blocks = pace.blocks();
        for (int n = 0; n < 100; n++) {
            jetpace_cpp::Frame frame(pace);
            for (std::uint32_t id = 0; id < blocks; id++)
                frame.block(id);
        }
        try {
            pace.find("no such block");
            return 1;
        } catch (const jetpace_cpp::Error &error) {
            if (error.code() != -ENOENT)
                return 1;
        }
        const auto stats = pace.stats();
        std::cout << stats.frames << " frames, " << stats.missed << " missed, " << stats.switches << " switches, "
                  << stats.faults << " faults\n";
        return stats.frames == 100 ? 0 : 1;
    } catch (const jetpace_cpp::Error &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
