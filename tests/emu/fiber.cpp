#include "fiber.h"
#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/mman.h>
#include <unistd.h>
#include <thread>
#ifdef JP_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// Saves the callee-saved registers and the stack pointer at *save, then continues where `to` was saved.
extern "C" void emu_switch(void **save, void *to);
#if defined(__x86_64__)
asm(R"(
.globl emu_switch
.type emu_switch, @function
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");
#else
#error "the emulation runs on x86-64 only: emu_switch is missing"
#endif

namespace emu {

Mode mode;
__thread Block *running;

namespace {

constexpr size_t STACK = 128 * 1024;
constexpr size_t SAVED = 6; // registers that emu_switch keeps

// The OS thread's own context while fibers run, and the stacks of its fibers.
struct Host {
    void *stack_pointer = nullptr;
    void *fake_stack = nullptr;
    const void *stack_bottom = nullptr;
    size_t stack_size = 0;
    char *stacks = nullptr;
    size_t stack_count = 0;
    const Kernel *kernel = nullptr;
    void **params = nullptr;
};
thread_local Host host;
std::mutex passes_lock;
std::map<std::string, Passes> all_passes;
thread_local Passes block_passes;

std::vector<Kernel> &kernels() {
    static std::vector<Kernel> all;
    return all;
}

// The n-th accesses of `bytes` of a warp's lanes: 32 banks of 4 bytes; a pass serves one word of each bank, to as many
// lanes as want it, and lanes together as far as they make 128 bytes.
void count_passes(unsigned first, unsigned lanes, unsigned width, size_t n) {
    const size_t words = size_t{1} << width, together = 32 / words;
    for (size_t from = first; from < first + lanes; from += together) {
        uintptr_t banks[32][32]; // the words that are wanted of each, counted below
        unsigned wanted[32] = {};
        size_t distinct = 0, most = 0;
        for (size_t l = from; l < std::min<size_t>(from + together, first + lanes); l++) {
            const std::vector<uintptr_t> &touched = block().fibers[l].touched[width];
            if (n >= touched.size()) continue;
            for (uintptr_t w = touched[n] / 4; w < touched[n] / 4 + words; w++) {
                uintptr_t *bank = banks[w % 32], *end = bank + wanted[w % 32];
                if (std::find(bank, end, w) != end) continue;
                *end = w;
                distinct++;
                most = std::max<size_t>(most, ++wanted[w % 32]);
            }
        }
        block_passes.needed += most;
        block_passes.least += (distinct + 31) / 32;
    }
}

// The accesses of a warp since its lanes last met.
void count_warp(unsigned first, unsigned lanes) {
    if (!mode.banks) return;
    for (unsigned width = 0; width < 3; width++) {
        size_t longest = 0;
        for (unsigned l = first; l < first + lanes; l++)
            longest = std::max(longest, block().fibers[l].touched[width].size());
        for (size_t n = 0; n < longest; n++) count_passes(first, lanes, width, n);
        for (unsigned l = first; l < first + lanes; l++) block().fibers[l].touched[width].clear();
    }
}

void count_block() {
    for (unsigned i = 0; i < block().count; i += 32) count_warp(i, std::min(32u, block().count - i));
}

// Continues `to`, or the host where it is null. `from` is the running fiber, null for the host.
void switch_to(Fiber *to, Fiber *from) {
#ifdef JP_ASAN
    const bool gone = from && from->state == State::Done;
    void **const keep = gone ? nullptr : from ? &from->fake_stack : &host.fake_stack;
    if (to)
        __sanitizer_start_switch_fiber(keep, to->stack, STACK);
    else
        __sanitizer_start_switch_fiber(keep, host.stack_bottom, host.stack_size);
#endif
    emu_switch(from ? &from->stack_pointer : &host.stack_pointer, to ? to->stack_pointer : host.stack_pointer);
#ifdef JP_ASAN
    __sanitizer_finish_switch_fiber(from ? from->fake_stack : host.fake_stack, nullptr, nullptr);
#endif
}

[[noreturn]] void deadlock() {
    unsigned counts[4] = {};
    for (unsigned i = 0; i < block().count; i++) counts[static_cast<int>(block().fibers[i].state)]++;
    fail("deadlock in block (%u, %u, %u): %u threads at a barrier, %u in a warp operation, %u ended", block().index.x,
         block().index.y, block().index.z, counts[1], counts[2], counts[3]);
}

// Runs another fiber that can go on, first one of the same warp; the host once all have ended.
void reschedule() {
    const unsigned me = block().current, warp = me / 32 * 32, lanes = std::min(32u, block().count - warp);
    auto ready = [](unsigned i) { return block().fibers[i].state == State::Ready; };
    unsigned next = block().count;
    for (unsigned k = 1; k < lanes && next == block().count; k++) {
        const unsigned i = warp + (me - warp + (mode.reverse ? lanes - k : k)) % lanes;
        if (ready(i)) next = i;
    }
    for (unsigned k = 1; k < block().count && next == block().count; k++) {
        const unsigned i = (me + (mode.reverse ? block().count - k : k)) % block().count;
        if (ready(i)) next = i;
    }
    Fiber &from = block().fibers[me];
    if (next < block().count) {
        block().current = next;
        switch_to(&block().fibers[next], &from);
        return;
    }
    for (unsigned i = 0; i < block().count; i++)
        if (block().fibers[i].state != State::Done) deadlock();
    switch_to(nullptr, &from);
}

void run_fiber() {
#ifdef JP_ASAN
    const void *bottom;
    size_t size;
    __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
    if (!host.stack_bottom) { // the first fiber comes from the host
        host.stack_bottom = bottom;
        host.stack_size = size;
    }
#endif
    host.kernel->call(host.params);
    if (!block().fiber().copies.empty()) fail("%s: a thread ended with copies under way", host.kernel->name);
    block().fiber().state = State::Done;
    reschedule();
    abort(); // an ended fiber is never resumed
}

void prepare(Fiber &fiber, unsigned i) {
    fiber.state = State::Ready;
    fiber.fake_stack = nullptr;
    fiber.index = i;
    fiber.thread = {i % block().size.x, i / block().size.x % block().size.y, i / (block().size.x * block().size.y)};
    fiber.copies.clear();
    fiber.groups.clear();
    for (auto &touched : fiber.touched) touched.clear();
    fiber.stack = host.stacks + i * STACK;
    // Staggered, so that the fibers' frames do not all fall into the same cache set; a return address above it
    // keeps the stack aligned as after a call.
    void **top = reinterpret_cast<void **>(fiber.stack + STACK - 64 - i % 16 * 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void *>(&run_fiber);
    for (size_t r = 0; r < SAVED; r++) *--top = nullptr;
    fiber.stack_pointer = top;
}

char *poisoned(size_t bytes) {
    void *memory = nullptr;
    if (posix_memalign(&memory, 128, std::max<size_t>(bytes, 1))) fail("out of memory");
    memset(memory, 0xff, bytes); // NaN as fp16 and as fp32
    return static_cast<char *>(memory);
}

void run_block(size_t shared_bytes) {
    block().count = block().size.x * block().size.y * block().size.z;
    if (block().fibers.size() < block().count) block().fibers.resize(block().count);
    if (host.stack_count < block().count) {
        if (host.stacks) munmap(host.stacks, host.stack_count * STACK);
        host.stack_count = block().count;
        void *const memory = mmap(nullptr, host.stack_count * STACK, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) fail("no memory for %zu stacks", host.stack_count);
        host.stacks = static_cast<char *>(memory);
    }
#ifdef JP_ASAN
    __asan_unpoison_memory_region(host.stacks, host.stack_count * STACK); // frames of ended fibers
#endif
    block().warps.assign((block().count + 31) / 32, Warp());
    block().at_barrier = 0;
    block().dynamic = poisoned(shared_bytes);
    for (unsigned i = 0; i < block().count; i++) prepare(block().fibers[i], i);
    block().current = mode.reverse ? block().count - 1 : 0;
    switch_to(&block().fiber(), nullptr);
    count_block();
    free(block().dynamic);
    for (const Shared &s : block().fixed) free(s.memory);
    block().fixed.clear();
}

} // namespace

void barrier() {
    if (++block().at_barrier < block().count) {
        block().fiber().state = State::AtBarrier;
        reschedule();
        return;
    }
    block().at_barrier = 0;
    count_block();
    for (unsigned i = 0; i < block().count; i++)
        if (block().fibers[i].state == State::AtBarrier) block().fibers[i].state = State::Ready;
}

void warp_collective(WarpOp op, void *operands) {
    const unsigned me = block().current, first = me / 32 * 32, lanes = std::min(32u, block().count - first);
    Warp &warp = block().warps[me / 32];
    if (warp.arrived > 0 && warp.op != op) fail("the lanes of a warp meet in different operations");
    warp.op = op;
    warp.operands[me - first] = operands;
    if (++warp.arrived < lanes) {
        block().fiber().state = State::InWarp;
        reschedule();
        return;
    }
    warp.arrived = 0;
    count_warp(first, lanes);
    if (op) op(warp.operands, lanes);
    for (unsigned i = 0; i < lanes; i++)
        if (first + i != me) block().fibers[first + i].state = State::Ready;
}

void *shared(const void *key, size_t bytes) {
    for (const Shared &s : block().fixed)
        if (s.key == key) return s.memory;
    block().fixed.push_back({key, poisoned(bytes)});
    return block().fixed.back().memory;
}

Register::Register(const char *name, void (*call)(void **)) { kernels().push_back({name, call}); }

const Kernel *find(const char *name) {
    for (const Kernel &k : kernels())
        if (!strcmp(k.name, name)) return &k;
    return nullptr;
}

void launch(const Kernel &kernel, dim3 grid, dim3 size, size_t shared_bytes, void **params, unsigned threads) {
    const size_t total = static_cast<size_t>(grid.x) * grid.y * grid.z;
    std::atomic<size_t> next{0};
    auto work = [&] {
        static thread_local Block own;
        running = &own;
        host.kernel = &kernel;
        host.params = params;
        block().grid = grid;
        block().size = size;
        for (size_t i; (i = next++) < total;) {
            block().index = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                           static_cast<unsigned>(i / grid.x / grid.y)};
            run_block(shared_bytes);
        }
        if (host.stacks) munmap(host.stacks, host.stack_count * STACK);
        host = Host();
        const std::lock_guard<std::mutex> hold(passes_lock);
        Passes &sum = all_passes[kernel.name];
        sum.needed += block_passes.needed;
        sum.least += block_passes.least;
        block_passes = Passes();
    };
    std::vector<std::thread> others;
    for (unsigned i = 1; i < std::min<size_t>(threads, total); i++) others.emplace_back(work);
    work();
    for (std::thread &t : others) t.join();
}

void touch(const void *at, unsigned bytes) {
    if (mode.banks) block().fiber().touched[bytes / 8].push_back(reinterpret_cast<uintptr_t>(at));
}

std::map<std::string, Passes> passes() {
    const std::lock_guard<std::mutex> hold(passes_lock);
    return all_passes;
}

void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("emu: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(70);
}

} // namespace emu
