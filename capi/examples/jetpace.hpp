// RAII over jetpace.h: the clock is put back when a Pace goes, a frame ends when a Frame goes.
#pragma once

#include "jetpace.h"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace jetpace_cpp {

class Error : public std::runtime_error {
public:
    Error(const std::string &what, int code) : std::runtime_error(what + ": " + jetpace_strerror(code)), code_(code) {}
    int code() const noexcept { return code_; }

private:
    int code_;
};

inline void check(const char *what, int code)
{
    if (code != 0)
        throw Error(what, code);
}

class Pace {
public:
    explicit Pace(const char *table = nullptr, const char *board = nullptr, const char *socket = nullptr)
    {
        struct jetpace_options options = {};
        options.size = sizeof options;
        options.board = board;
        options.socket = socket;
        check(table ? table : "open", jetpace_open(table, &options, &handle_));
    }
    ~Pace() { jetpace_close(handle_); }
    Pace(const Pace &) = delete;
    Pace &operator=(const Pace &) = delete;
    Pace(Pace &&other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Pace &operator=(Pace &&other) noexcept
    {
        std::swap(handle_, other.handle_);
        return *this;
    }

    std::uint32_t find(const char *name) const
    {
        std::uint32_t id = 0;
        check(name, jetpace_block_find(handle_, name, &id));
        return id;
    }
    std::uint32_t blocks() const
    {
        std::uint32_t count = 0;
        check("blocks", jetpace_block_count(handle_, &count));
        return count;
    }
    struct jetpace_stats stats() const
    {
        struct jetpace_stats stats = {};
        stats.size = sizeof stats;
        check("stats", jetpace_stats(handle_, &stats));
        return stats;
    }
    struct jetpace *get() const noexcept { return handle_; }

private:
    struct jetpace *handle_ = nullptr;
};

// From the frame's start to its end. What goes wrong with the clock does not stop the frame: see Pace::stats.
class Frame {
public:
    explicit Frame(const Pace &pace) : handle_(pace.get()) { jetpace_frame_start(handle_); }
    ~Frame() { jetpace_frame_end(handle_); }
    Frame(const Frame &) = delete;
    Frame &operator=(const Frame &) = delete;

    int block(std::uint32_t id, std::uint32_t size = 1) noexcept { return jetpace_block_start(handle_, id, size); }

    // A block and what it does: once, or as often as calibration wants it, so it must be repeatable. It has to wait for
    // the GPU. What it returns, if anything, is how long that took in nanoseconds, by the GPU's own events.
    template <class Run> void run(std::uint32_t id, std::uint32_t size, Run &&block_of_work)
    {
        block(id, size);
        do {
            if constexpr (std::is_void_v<decltype(block_of_work())>)
                block_of_work();
            else
                jetpace_block_took(handle_, id, static_cast<std::uint64_t>(block_of_work()));
        } while (jetpace_block_again(handle_, id) > 0);
    }

    // The size that this frame should have: `own`, unless another one is being measured.
    std::uint32_t size(std::uint32_t own) const noexcept
    {
        std::uint32_t size = own;
        return jetpace_frame_size(handle_, own, &size) == 0 ? size : own;
    }

private:
    struct jetpace *handle_;
};

} // namespace jetpace_cpp
