// The threads of one CUDA block as fibers of one OS thread: they run one after another and change places only where
// they wait, so that a missing barrier shows as a wrong result, the same one on every run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

namespace emu {

// What the hardware leaves open; a right kernel gives the same result under every choice.
struct Mode {
    bool reverse = false;      // threads run from the last to the first
    bool early_copies = false; // cp.async copies when issued; else when waited for
    bool banks = false;        // counts bank conflicts
};
extern Mode mode;

// One asynchronous copy under way.
struct Copy {
    void *to;
    const void *from;
    unsigned bytes;
    bool valid;
};

enum class State { Ready, AtBarrier, InWarp, Done };

struct Fiber {
    void *stack_pointer = nullptr;
    char *stack = nullptr;
    void *fake_stack = nullptr; // the address sanitizer's
    State state = State::Ready;
    dim3 thread;
    unsigned index = 0;
    std::vector<Copy> copies;
    std::vector<size_t> groups; // ends of the committed groups in `copies`
    std::vector<uintptr_t> touched[3]; // shared memory, by accesses of 4, 8 and 16 bytes
};

// A warp operation in progress: every lane leaves a pointer to its operands, the last one computes for all.
using WarpOp = void (*)(void *const *lanes, unsigned count);
struct Warp {
    void *operands[32];
    unsigned arrived = 0;
    WarpOp op = nullptr;
};

struct Shared {
    const void *key;
    char *memory;
};

struct Block {
    std::vector<Fiber> fibers;
    std::vector<Warp> warps;
    unsigned current = 0, count = 0, at_barrier = 0;
    dim3 index, size, grid;
    char *dynamic = nullptr;
    std::vector<Shared> fixed;
    Fiber &fiber() { return fibers[current]; }
};
// The block that this OS thread runs. Through a plain pointer: an object with a constructor would be looked up through an
// initialiser at every use.
extern __thread Block *running;
inline Block &block() { return *running; }

// __syncthreads.
void barrier();
// Waits for the lanes of the warp; all must bring the same operation.
void warp_collective(WarpOp op, void *operands);
// Shared memory of the block under `key`; filled with NaN at the block's start.
void *shared(const void *key, size_t bytes);

// A kernel and how to call it with a driver's array of parameter pointers.
struct Kernel {
    const char *name;
    void (*call)(void **params);
};
// Null where there is no kernel of this name.
const Kernel *find(const char *name);
// Runs a grid on `threads` OS threads. A fault in the kernel ends the process with a message.
void launch(const Kernel &kernel, dim3 grid, dim3 size, size_t shared_bytes, void **params, unsigned threads);

struct Register {
    Register(const char *name, void (*call)(void **));
};

// Notes an access of this lane's to shared memory. The n-th accesses of one width of a warp's lanes since they
// last met are one instruction: that holds where the lanes differ only in whether they take part.
void touch(const void *at, unsigned bytes);
// Passes that shared memory needed for a kernel's accesses, and the fewest that their bytes allow.
struct Passes {
    uint64_t needed = 0, least = 0;
};
std::map<std::string, Passes> passes();
[[noreturn]] void fail(const char *format, ...);

} // namespace emu
