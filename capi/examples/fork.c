/* A forked child changes nothing: its calls are refused, its close is empty, and the parent goes on. */
#include "jetpace.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct jetpace_options options;
    struct jetpace *j;
    int status = 0, error;
    pid_t child;

    if (argc < 3)
        return 2;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.board = argv[2];
    error = jetpace_open(argv[1], &options, &j);
    if (error != 0) {
        fprintf(stderr, "%s\n", jetpace_strerror(error));
        return 1;
    }
    jetpace_frame_start(j);
    child = fork();
    if (child == 0)
        _exit(jetpace_frame_start(j) == -ECHILD && jetpace_block_start(j, 0, 1) == -ECHILD && jetpace_close(j) == 0 ? 7 : 8);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 7) {
        fprintf(stderr, "the child was not kept out\n");
        return 1;
    }
    if (jetpace_block_start(j, 0, 1) != 0 || jetpace_frame_end(j) != 0 || jetpace_close(j) != 0)
        return 1;
    if (jetpace_frame_start(NULL) != -EINVAL || jetpace_close(NULL) != 0 || jetpace_open(argv[1], NULL, NULL) != -EINVAL)
        return 1;
    puts("the child was kept out, the parent went on");
    return 0;
}
