/* Frames of a network whose blocks are functions, at the clocks of a table.
 *
 *     frames TABLE [BOARD [SOCKET]]        BOARD: auto, sim:NAME or the root of a sysfs tree
 */
#include "jetpace.h"

#include <stdio.h>
#include <string.h>

static void run_block(uint32_t id)
{
    (void)id; /* here: launch the block's kernels, and wait until the GPU has reached the next boundary */
}

static int failed(const char *what, int error)
{
    fprintf(stderr, "%s: %s (%d)\n", what, jetpace_strerror(error), error);
    return 1;
}

int main(int argc, char **argv)
{
    struct jetpace_options options;
    struct jetpace_stats stats;
    struct jetpace *j;
    uint32_t blocks = 0;
    int error, frame;

    if (argc < 2) {
        fprintf(stderr, "usage: %s TABLE [BOARD [SOCKET]]\n", argv[0]);
        return 2;
    }
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.board = argc > 2 ? argv[2] : NULL;
    options.socket = argc > 3 ? argv[3] : NULL;
    error = jetpace_open(argv[1], &options, &j);
    if (error != 0)
        return failed(argv[1], error);
    error = jetpace_block_count(j, &blocks);

    for (frame = 0; error == 0 && frame < 100; frame++) {
        uint32_t id;
        error = jetpace_frame_start(j);
        for (id = 0; error == 0 && id < blocks; id++) {
            error = jetpace_block_start(j, id, 1);
            run_block(id);
        }
        if (error == 0)
            error = jetpace_frame_end(j);
    }
    if (error == 0) {
        stats.size = sizeof stats;
        error = jetpace_stats(j, &stats);
    }
    if (error != 0) {
        jetpace_close(j);
        return failed("frame", error);
    }
    printf("%llu frames, %llu missed, %llu switches, %llu faults, %s\n", (unsigned long long)stats.frames,
           (unsigned long long)stats.missed, (unsigned long long)stats.switches, (unsigned long long)stats.faults,
           stats.by_daemon ? "through the daemon" : "on the nodes");
    error = jetpace_close(j);
    return error == 0 ? 0 : failed("close", error);
}
