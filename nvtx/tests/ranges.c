/* A program against NVIDIA's own NVTX headers, which knows nothing of jetpace: every kind of range, and what a pair costs.
 * usage: ranges kinds | pairs COUNT | work FRAMES PERIOD_MS [THEN] */
#define _GNU_SOURCE

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#include <nvtx3/nvToolsExt.h>

#include "../../capi/examples/standin.h"

static nvtxEventAttributes_t attributes(void)
{
    nvtxEventAttributes_t it;

    memset(&it, 0, sizeof it);
    it.version = NVTX_VERSION;
    it.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    return it;
}

static void *elsewhere(void *range)
{
    nvtxRangePushA("elsewhere");
    nvtxRangePop();
    nvtxRangeEnd(*(nvtxRangeId_t *)range);
    return NULL;
}

/* Twice of each kind, and what no program should do. */
static int kinds(void)
{
    nvtxDomainHandle_t app = nvtxDomainCreateA("app"), wide = nvtxDomainCreateW(L"läuft");
    nvtxStringHandle_t registered = nvtxDomainRegisterStringA(app, "registered");
    nvtxStringHandle_t registered_wide = nvtxDomainRegisterStringW(app, L"registered wide");

    if (nvtxDomainRegisterStringA(app, "registered") != registered || app == NULL || registered == NULL)
        return 2;
    for (int n = 0; n < 2; n++) {
        nvtxEventAttributes_t it = attributes();
        nvtxRangeId_t id;
        pthread_t thread;

        nvtxRangePushA("push");
        nvtxRangePushW(L"push wide: ü");
        nvtxRangePop();
        it.messageType = NVTX_MESSAGE_TYPE_ASCII;
        it.message.ascii = "push ex";
        it.payloadType = NVTX_PAYLOAD_TYPE_UNSIGNED_INT64;
        it.payload.ullValue = 64 + (uint64_t)n;
        nvtxRangePushEx(&it);
        nvtxRangePop();
        nvtxRangePop();
        it.payloadType = NVTX_PAYLOAD_TYPE_DOUBLE;
        it.payload.dValue = 1.5;
        it.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
        it.message.registered = registered;
        nvtxDomainRangePushEx(app, &it);
        it.message.registered = registered_wide;
        nvtxDomainRangePushEx(app, &it);
        nvtxDomainRangePop(app);
        nvtxDomainRangePop(app);
        id = nvtxRangeStartA("start");
        if (pthread_create(&thread, NULL, elsewhere, &id) != 0 || pthread_join(thread, NULL) != 0)
            return 2;
        nvtxRangeEnd(nvtxRangeStartW(L"start wide"));
        it.messageType = NVTX_MESSAGE_TYPE_UNICODE;
        it.message.unicode = L"start in a domain";
        nvtxDomainRangeEnd(wide, nvtxDomainRangeStartEx(wide, &it));
        nvtxMarkA("mark");
        nvtxMarkEx(&it);
        nvtxDomainMarkEx(app, &it);

        /* None of this is anything. */
        nvtxRangePop();
        nvtxDomainRangePop((nvtxDomainHandle_t)(uintptr_t)0xdead);
        nvtxRangeEnd(77777);
        nvtxRangePushA(NULL);
        nvtxRangePop();
        nvtxRangePushEx(NULL);
        nvtxRangePop();
        it.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
        it.message.registered = (nvtxStringHandle_t)(uintptr_t)0xdeadbeef;
        nvtxDomainRangePushEx((nvtxDomainHandle_t)(uintptr_t)-1, &it);
        nvtxDomainRangePop((nvtxDomainHandle_t)(uintptr_t)-1);
        it.size = 8;
        nvtxRangePushEx(&it);
        nvtxRangePop();
        nvtxDomainDestroy(wide);
    }
    return 0;
}

static double now(void)
{
    struct timespec it;

    clock_gettime(CLOCK_MONOTONIC, &it);
    return (double)it.tv_sec * 1e9 + (double)it.tv_nsec;
}

#define PAIR(what, ...)                                     \
    do {                                                    \
        double least = 1e18;                                \
        for (int run = 0; run < 5; run++) {                 \
            double from = now();                            \
            for (long n = 0; n < pairs; n++) {              \
                __VA_ARGS__;                                \
            }                                               \
            double took = (now() - from) / (double)pairs;   \
            least = took < least ? took : least;            \
        }                                                   \
        printf("%s %.2f\n", what, least);                   \
    } while (0)

/* Nanoseconds of a pair, the best of five runs. Only `infer` is a frame. */
static int cost(long pairs)
{
    nvtxDomainHandle_t app = nvtxDomainCreateA("app");
    nvtxEventAttributes_t text = attributes(), layer = attributes(), infer = attributes();

    text.messageType = NVTX_MESSAGE_TYPE_ASCII;
    text.message.ascii = "layer 17";
    layer.messageType = infer.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    layer.message.registered = nvtxDomainRegisterStringA(app, "layer 17");
    infer.message.registered = nvtxDomainRegisterStringA(app, "infer");
    nvtxDomainRangePushEx(app, &infer);
    nvtxDomainRangePop(app);
    PAIR("push_text", nvtxRangePushA("layer 17"); nvtxRangePop());
    PAIR("push_attributes", nvtxDomainRangePushEx(app, &text); nvtxDomainRangePop(app));
    PAIR("push_registered", nvtxDomainRangePushEx(app, &layer); nvtxDomainRangePop(app));
    PAIR("start", nvtxRangeEnd(nvtxRangeStartA("layer 17")));
    nvtxDomainRangePushEx(app, &infer);
    PAIR("push_within_frame", nvtxDomainRangePushEx(app, &layer); nvtxDomainRangePop(app));
    nvtxDomainRangePop(app);
    /* As fast as a program of 2,000 frames a second, so that whoever takes them can. */
    pairs /= 1000;
    for (int told = 0; told < 1; told++) {
        double least = 1e18;

        for (long n = 0; n < pairs; n++) {
            double from = now(), took;

            nvtxDomainRangePushEx(app, &infer);
            nvtxDomainRangePop(app);
            took = now() - from;
            least = took < least ? took : least;
            usleep(500);
        }
        printf("told_frame %.2f\n", least);
    }
    return 0;
}

/* Frames on a stand-in GPU, if there is one. The program's errno is its own. */
static int work(int frames, double period_ms, const char *then)
{
    int gpu = getenv("JETPACE_GPU") ? gpu_open() : -1;

    for (int n = 0; n < frames; n++) {
        errno = 4711;
        nvtxRangePushA("infer");
        nvtxRangePushA("stem");
        if (gpu >= 0)
            gpu_run(gpu, 20000000000ULL, 40000000ULL);
        nvtxRangePop();
        nvtxRangePushA("head");
        if (gpu >= 0)
            gpu_run(gpu, 10000000000ULL, 60000000ULL);
        nvtxRangePop();
        errno = 4711;
        nvtxRangePop();
        if (errno != 4711)
            return 3;
        if (period_ms > 0)
            usleep((useconds_t)(1e3 * period_ms));
        if (n == 1 && strcmp(then, "fork") == 0) {
            pid_t child = fork();
            int status = 0;

            if (child == 0) {
                for (int more = 0; more < 5; more++) {
                    nvtxRangePushA("infer");
                    nvtxRangePop();
                }
                _exit(0);
            }
            if (waitpid(child, &status, 0) != child || status != 0)
                return 4;
        }
    }
    if (strcmp(then, "die") == 0) {
        usleep(600000);
        raise(9);
    }
    printf("%d frames\n", frames);
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && strcmp(words[1], "kinds") == 0)
        return kinds();
    if (count == 3 && strcmp(words[1], "pairs") == 0)
        return cost(atol(words[2]));
    if (count >= 4 && strcmp(words[1], "work") == 0)
        return work(atoi(words[2]), atof(words[3]), count > 4 ? words[4] : "");
    fprintf(stderr, "usage: ranges kinds | pairs COUNT | work FRAMES PERIOD_MS [fork|die]\n");
    return 1;
}
