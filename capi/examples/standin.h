/* The stand-in GPU of a board on disk (docs/OWN-PROGRAM.md), in the place of CUDA: work is queued, and waited for. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The GPU at $JETPACE_GPU; ends the program where there is none. */
static inline int gpu_open(void)
{
    const char *path = getenv("JETPACE_GPU");
    struct sockaddr_un address;
    int gpu = socket(AF_UNIX, SOCK_STREAM, 0);

    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (path == NULL || strlen(path) >= sizeof address.sun_path) {
        fprintf(stderr, "no stand-in GPU: run this under `jetpace ... --board live:NAME`\n");
        exit(1);
    }
    memcpy(address.sun_path, path, strlen(path));
    if (gpu < 0 || connect(gpu, (struct sockaddr *)&address, sizeof address) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    return gpu;
}

/* Queues operations and bytes between two events, and waits. How long the GPU took, in nanoseconds, by its events: as
 * cudaEventRecord, the kernels, cudaEventRecord, cudaEventSynchronize, cudaEventElapsedTime. */
static inline uint64_t gpu_run(int gpu, unsigned long long operations, unsigned long long bytes)
{
    char text[128];
    size_t length = 0;
    unsigned long long start = 0, end = 0;

    snprintf(text, sizeof text, "event\nrun %llu %llu\nevent\nwait\n", operations, bytes);
    if (write(gpu, text, strlen(text)) != (ssize_t)strlen(text))
        exit(1);
    do {
        ssize_t got = read(gpu, text + length, sizeof text - 1 - length);
        if (got <= 0)
            exit(1);
        length += (size_t)got;
    } while (text[length - 1] != '\n' && length < sizeof text - 1);
    text[length] = 0;
    if (sscanf(text, "%llu %llu", &start, &end) != 2)
        exit(1);
    return end - start;
}
