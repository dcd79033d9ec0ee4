// A libcuda.so.1 that runs the emulated kernels on the CPU, for testing the real launcher without a GPU. It has the
// functions that the launcher calls and no other, and refuses what the real driver would refuse.
//
// It does not run the cubin that it is given: it checks that the cubin is for this GPU and takes the emulated kernel of
// the same name.
//
// JP_STUB_CAPABILITY=87, JP_STUB_DEVICES=1, JP_STUB_INIT=0 (what cuInit answers), JP_STUB_MEMORY_MB=8192,
// JP_STUB_POOLS=1 (whether it has memory pools), JP_STUB_PROCESSORS=8, JP_STUB_THREADS=2 (for a kernel),
// JP_STUB_HANG=KERNEL (which never ends),
// JP_STUB_LAUNCHES=FILE (gets a letter for every graph launched: b where another one ran or was queued, i where none did).
#include "abi.h"
#include "fiber.h"
#include "stream.h"
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <string>

#ifndef JP_STUB_BODY
#define JP_STUB_BODY 87 // the capability whose kernel bodies are compiled in
#endif

#define API extern "C" __attribute__((visibility("default"))) CUresult

// The driver's own numbers.
enum CUresult {
    CUDA_SUCCESS = 0,
    CUDA_ERROR_INVALID_VALUE = 1,
    CUDA_ERROR_OUT_OF_MEMORY = 2,
    CUDA_ERROR_INVALID_DEVICE = 101,
    CUDA_ERROR_INVALID_IMAGE = 200,
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
    CUDA_ERROR_INVALID_HANDLE = 400,
    CUDA_ERROR_NOT_FOUND = 500,
    CUDA_ERROR_NOT_READY = 600,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
};

namespace {

using stub::Event;
using stub::Graph;
using stub::Stream;
using stub::Work;

int setting(const char *name, int otherwise) {
    const char *value = getenv(name);
    return value ? atoi(value) : otherwise;
}

int capability() { return setting("JP_STUB_CAPABILITY", JP_STUB_BODY); }

// Shared memory that a kernel may ask for, in bytes.
int most_shared() {
    switch (capability()) {
    case 72: return 96 << 10;
    case 87: return 163 << 10;
    default: return 227 << 10;
    }
}

struct Function {
    const emu::Kernel *kernel;
    size_t parameter_bytes;
    int shared_allowed = 48 << 10;
    bool loaded = false; // as drivers do it, with the first use
};

struct Module {
    std::map<std::string, Function> functions;
};

struct Memory {
    std::mutex lock;
    std::map<void *, size_t> blocks;
    size_t used = 0;

    static size_t all() { return static_cast<size_t>(setting("JP_STUB_MEMORY_MB", 8192)) << 20; }

    CUresult take(void **to, size_t bytes) {
        std::lock_guard<std::mutex> hold(lock);
        if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
        if (bytes > all() - used) return CUDA_ERROR_OUT_OF_MEMORY;
        // Of this very size, so that the address sanitizer sees a byte beyond it.
        if (posix_memalign(to, 256, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
        memset(*to, 0x7f, bytes); // NaN in fp16, huge in fp32: whoever reads it without writing it shows
        blocks[*to] = bytes;
        used += bytes;
        return CUDA_SUCCESS;
    }

    CUresult give_back(void *at) {
        std::lock_guard<std::mutex> hold(lock);
        const auto found = blocks.find(at);
        if (found == blocks.end()) return CUDA_ERROR_INVALID_VALUE;
        used -= found->second;
        blocks.erase(found);
        free(at);
        return CUDA_SUCCESS;
    }

    // Whether the bytes lie in one allocation.
    bool holds(const void *at, size_t bytes) {
        std::lock_guard<std::mutex> hold(lock);
        auto next = blocks.upper_bound(const_cast<void *>(at));
        if (next == blocks.begin()) return false;
        --next;
        return static_cast<const char *>(at) + bytes <= static_cast<char *>(next->first) + next->second;
    }
} memory;

std::mutex streams_lock;
std::set<Stream *> streams;
thread_local void *current_context = nullptr;

std::shared_ptr<Event> &event_of(void *handle) { return *static_cast<std::shared_ptr<Event> *>(handle); }

CUresult queue(void *handle, Work work) {
    const auto stream = static_cast<Stream *>(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE; // the launcher never uses the default stream
    if (stream->captured) {
        stream->captured->push_back(std::move(work));
    } else {
        stream->push(std::move(work));
    }
    return CUDA_SUCCESS;
}

bool capturing() {
    std::lock_guard<std::mutex> hold(streams_lock);
    for (const Stream *stream : streams) {
        if (stream->captured) return true;
    }
    return false;
}

// Copies to and from pageable memory, which the real driver stages: they are done when the call returns.
CUresult copy(void *to, const void *from, size_t bytes, const void *device, void *handle) {
    const auto stream = static_cast<Stream *>(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (!memory.holds(device, bytes)) return CUDA_ERROR_INVALID_VALUE;
    stream->push([=] { memcpy(to, from, bytes); });
    stream->wait();
    return CUDA_SUCCESS;
}

size_t parameter_bytes(const std::string &kernel) {
    if (kernel == "max_pool" || kernel == "global_average") return sizeof(JpPool);
    if (kernel == "linear_1") return sizeof(JpLinear);
    if (kernel == "marker") return sizeof(JpMarker);
    return sizeof(JpConv);
}

} // namespace

API cuInit(unsigned) { return static_cast<CUresult>(setting("JP_STUB_INIT", 0)); }

API cuDeviceGetCount(int *count) {
    *count = setting("JP_STUB_DEVICES", 1);
    return CUDA_SUCCESS;
}

API cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= setting("JP_STUB_DEVICES", 1)) return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

API cuDeviceGetName(char *name, int length, int) {
    snprintf(name, static_cast<size_t>(length), "emulated GPU");
    return CUDA_SUCCESS;
}

API cuDeviceGetAttribute(int *value, int attribute, int) {
    switch (attribute) {
    case 13: *value = 624750; break;                            // CLOCK_RATE, in kHz
    case 16: *value = setting("JP_STUB_PROCESSORS", 8); break;  // MULTIPROCESSOR_COUNT
    case 75: *value = capability() / 10; break;                 // COMPUTE_CAPABILITY_MAJOR
    case 76: *value = capability() % 10; break;                 // COMPUTE_CAPABILITY_MINOR
    case 115: *value = setting("JP_STUB_POOLS", 1); break;      // MEMORY_POOLS_SUPPORTED
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRetain(void **context, int) {
    static int primary;
    *context = &primary;
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(int) { return CUDA_SUCCESS; }

API cuCtxSetCurrent(void *context) {
    current_context = context;
    return CUDA_SUCCESS;
}

API cuCtxGetCurrent(void **context) {
    *context = current_context;
    return CUDA_SUCCESS;
}

API cuCtxSynchronize() {
    if (capturing()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    std::lock_guard<std::mutex> hold(streams_lock);
    for (Stream *stream : streams) stream->wait();
    return CUDA_SUCCESS;
}

API cuStreamCreate(void **handle, unsigned) {
    const auto stream = new Stream;
    std::lock_guard<std::mutex> hold(streams_lock);
    streams.insert(stream);
    *handle = stream;
    return CUDA_SUCCESS;
}

API cuStreamDestroy_v2(void *handle) {
    const auto stream = static_cast<Stream *>(handle);
    {
        std::lock_guard<std::mutex> hold(streams_lock);
        if (!streams.erase(stream)) return CUDA_ERROR_INVALID_HANDLE;
    }
    delete stream;
    return CUDA_SUCCESS;
}

API cuStreamSynchronize(void *handle) {
    const auto stream = static_cast<Stream *>(handle);
    if (!stream) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    stream->wait();
    return CUDA_SUCCESS;
}

API cuStreamBeginCapture_v2(void *handle, int) {
    const auto stream = static_cast<Stream *>(handle);
    if (!stream) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->captured) return CUDA_ERROR_INVALID_VALUE;
    stream->captured = std::make_unique<Graph>();
    return CUDA_SUCCESS;
}

API cuStreamEndCapture(void *handle, void **graph) {
    const auto stream = static_cast<Stream *>(handle);
    if (!stream || !stream->captured) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    *graph = stream->captured.release();
    return CUDA_SUCCESS;
}

API cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    *executable = new Graph(*static_cast<Graph *>(graph));
    return CUDA_SUCCESS;
}

API cuGraphUpload(void *, void *) { return CUDA_SUCCESS; }

API cuGraphLaunch(void *executable, void *stream) {
    static std::atomic<int> unfinished{0};
    const int before = unfinished++;
    if (const char *path = getenv("JP_STUB_LAUNCHES")) {
        if (FILE *file = fopen(path, "a")) {
            fputc(before > 0 ? 'b' : 'i', file);
            fclose(file);
        }
    }
    // A copy, as the executable may be destroyed before it has run.
    return queue(stream, [graph = *static_cast<Graph *>(executable)] {
        for (const Work &work : graph) work();
        unfinished--;
    });
}

API cuGraphExecDestroy(void *executable) {
    delete static_cast<Graph *>(executable);
    return CUDA_SUCCESS;
}

API cuGraphDestroy(void *graph) {
    delete static_cast<Graph *>(graph);
    return CUDA_SUCCESS;
}

API cuEventCreate(void **handle, unsigned) {
    *handle = new std::shared_ptr<Event>(std::make_shared<Event>());
    return CUDA_SUCCESS;
}

API cuEventDestroy_v2(void *handle) {
    delete &event_of(handle);
    return CUDA_SUCCESS;
}

API cuEventRecord(void *handle, void *stream) {
    // Recorded in a capture it would become a node of the graph, which nothing here needs.
    if (stream && static_cast<Stream *>(stream)->captured) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return queue(stream, Event::record(event_of(handle)));
}

API cuEventSynchronize(void *handle) {
    event_of(handle)->wait();
    return CUDA_SUCCESS;
}

API cuEventQuery(void *handle) { return event_of(handle)->done() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY; }

#ifndef JP_STUB_OLD
API cuEventElapsedTime(float *ms, void *from, void *to) {
    Event &start = *event_of(from), &end = *event_of(to);
    if (!start.ever() || !end.ever()) return CUDA_ERROR_INVALID_HANDLE;
    if (!start.done() || !end.done()) return CUDA_ERROR_NOT_READY;
    *ms = std::chrono::duration<float, std::milli>(end.time() - start.time()).count();
    return CUDA_SUCCESS;
}
#endif

API cuMemGetInfo_v2(size_t *free, size_t *all) {
    std::lock_guard<std::mutex> hold(memory.lock);
    *all = Memory::all();
    *free = *all - memory.used;
    return CUDA_SUCCESS;
}

API cuMemAlloc_v2(void **to, size_t bytes) {
    return capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : memory.take(to, bytes);
}

API cuMemAllocAsync(void **to, size_t bytes, void *) {
    return capturing() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : memory.take(to, bytes);
}

API cuMemFree_v2(void *at) {
    const CUresult waited = cuCtxSynchronize();
    return waited ? waited : memory.give_back(at);
}

API cuMemFreeAsync(void *at, void *stream) {
    return queue(stream, [at] { memory.give_back(at); });
}

API cuMemsetD8Async(void *at, unsigned char value, size_t bytes, void *stream) {
    if (!memory.holds(at, bytes)) return CUDA_ERROR_INVALID_VALUE;
    return queue(stream, [=] { memset(at, value, bytes); });
}

API cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    return copy(to, from, bytes, to, stream);
}

API cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t bytes, void *stream) {
    return copy(to, from, bytes, from, stream);
}

API cuModuleLoadData(void **module, const void *image) {
    const auto bytes = static_cast<const unsigned char *>(image);
    if (memcmp(bytes, "\177ELF", 4) != 0) return CUDA_ERROR_INVALID_IMAGE;
    // The compute capability stands in e_flags, at another place from ABI version 8 (CUDA 13) on.
    unsigned flags;
    memcpy(&flags, bytes + 48, 4);
    const unsigned compiled_for = bytes[8] >= 8 ? flags >> 8 & 0xff : flags & 0xff;
    if (compiled_for != static_cast<unsigned>(capability())) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *module = new Module;
    return CUDA_SUCCESS;
}

API cuModuleUnload(void *module) {
    delete static_cast<Module *>(module);
    return CUDA_SUCCESS;
}

API cuModuleGetFunction(void **function, void *module, const char *name) {
    const emu::Kernel *kernel = emu::find(name);
    if (!kernel) return CUDA_ERROR_NOT_FOUND;
    auto &functions = static_cast<Module *>(module)->functions;
    *function = &functions.emplace(name, Function{kernel, parameter_bytes(name)}).first->second;
    return CUDA_SUCCESS;
}

API cuFuncSetAttribute(void *handle, int attribute, int value) {
    const int MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
    if (attribute != MAX_DYNAMIC_SHARED_SIZE_BYTES || value > most_shared()) return CUDA_ERROR_INVALID_VALUE;
    static_cast<Function *>(handle)->shared_allowed = value;
    return CUDA_SUCCESS;
}

API cuFuncGetAttribute(int *value, int attribute, void *handle) {
    const int NUM_REGS = 4;
    if (attribute != NUM_REGS || capturing()) return CUDA_ERROR_INVALID_VALUE;
    static_cast<Function *>(handle)->loaded = true;
    *value = 128;
    return CUDA_SUCCESS;
}

API cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **parameters, void **extra) {
    const auto function = static_cast<Function *>(handle);
    if (!function->loaded && capturing()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    function->loaded = true;
    const bool empty = gx == 0 || gy == 0 || gz == 0 || bx == 0 || by == 0 || bz == 0;
    const bool large = gy > 65535 || gz > 65535 || bx * by * bz > 1024;
    if (empty || large || extra || shared > static_cast<unsigned>(function->shared_allowed)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    // The driver copies parameters before it returns.
    const auto bytes = static_cast<const char *>(parameters[0]);
    const std::vector<char> parameter(bytes, bytes + function->parameter_bytes);
    const unsigned threads = static_cast<unsigned>(setting("JP_STUB_THREADS", 2));
    return queue(stream, [=] {
        const char *hangs = getenv("JP_STUB_HANG");
        while (hangs && !strcmp(hangs, function->kernel->name)) std::this_thread::sleep_for(std::chrono::hours(1));
        alignas(16) char copy[256];
        memcpy(copy, parameter.data(), parameter.size());
        void *parameters[] = {copy};
        emu::launch(*function->kernel, {gx, gy, gz}, {bx, by, bz}, shared, parameters, threads);
    });
}
