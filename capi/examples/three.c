/* A network of three blocks, each followed by a wait for the GPU: what a program does to be measured by its blocks
 * (`jetpace calibrate --cmd ./three`) and to run at a table's clocks (JETPACE_TABLE, or through `jetpace serve`).
 *
 *     three [FRAMES [PERIOD_MS [PICTURES]]]     prints each frame's milliseconds on the GPU; for ever without a number,
 *                                               silently. With PICTURES, frames have 1, 2, .. so many in turn.
 *
 * It runs on the stand-in GPU of a board on disk; with CUDA, gpu_run() is the block's kernels and a synchronisation.
 */
#define _POSIX_C_SOURCE 200809L
#include "jetpace.h"
#include "standin.h"

#include <time.h>

/* Operations and bytes of a block, for one picture. */
static const struct {
    const char *name;
    unsigned long long operations, bytes;
} blocks[] = {
    { "stem", 6000000000ull, 60000000ull },
    { "body", 18000000000ull, 20000000ull },
    { "head", 2000000000ull, 100000000ull },
};
enum { BLOCKS = sizeof blocks / sizeof *blocks };

static int failed(const char *what, int error)
{
    fprintf(stderr, "%s: %s\n", what, jetpace_strerror(error));
    return 1;
}

int main(int argc, char **argv)
{
    long frames = argc > 1 ? atol(argv[1]) : 0, frame;
    double period = argc > 2 ? atof(argv[2]) * 1e6 : 0;
    long pictures = argc > 3 ? atol(argv[3]) : 1;
    uint32_t ids[BLOCKS], size, b;
    struct jetpace_stats stats;
    struct timespec due;
    struct jetpace *j;
    int gpu = gpu_open();
    int error = jetpace_open(NULL, NULL, &j);

    if (error != 0)
        return failed("open", error);
    for (b = 0; b < BLOCKS; b++) {
        error = jetpace_block_find(j, blocks[b].name, &ids[b]);
        if (error != 0)
            return failed(blocks[b].name, error);
    }
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (frame = 0; frames == 0 || frame < frames; frame++) {
        uint64_t busy = 0;

        jetpace_frame_start(j);
        /* Pictures in this frame: one's own number, unless another is being measured. */
        jetpace_frame_size(j, (uint32_t)(1 + frame % pictures), &size);
        for (b = 0; b < BLOCKS; b++) {
            uint64_t took;

            jetpace_block_start(j, ids[b], size);
            do {
                took = gpu_run(gpu, blocks[b].operations * size, blocks[b].bytes * size);
                jetpace_block_took(j, ids[b], took); /* by the GPU's events; may be left out */
            } while (jetpace_block_again(j, ids[b]) > 0);
            busy += took;
        }
        jetpace_frame_end(j);
        if (frames > 0)
            printf("%.4f\n", (double)busy / 1e6);
        if (period > 0) {
            long long next = due.tv_sec * 1000000000ll + due.tv_nsec + (long long)period;
            due.tv_sec = next / 1000000000ll;
            due.tv_nsec = next % 1000000000ll;
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        }
    }
    stats.size = sizeof stats;
    error = jetpace_stats(j, &stats);
    if (error != 0)
        return failed("stats", error);
    fprintf(stderr, "%ld frames, %llu faults\n", frames, (unsigned long long)stats.faults);
    return jetpace_close(j) == 0 ? 0 : 1;
}
