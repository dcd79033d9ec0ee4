/* A client that runs frames until it is killed: for capi/tests/kill.py. */
#include "jetpace.h"

#include <string.h>

int main(int argc, char **argv)
{
    struct jetpace_options options;
    struct jetpace *j;
    uint32_t blocks = 0;

    if (argc < 3)
        return 2;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.socket = argv[2];
    if (jetpace_open(argv[1], &options, &j) != 0 || jetpace_block_count(j, &blocks) != 0)
        return 1;
    for (;;) {
        uint32_t id;
        jetpace_frame_start(j);
        for (id = 0; id < blocks; id++)
            jetpace_block_start(j, id, 1);
        jetpace_frame_end(j);
    }
}
