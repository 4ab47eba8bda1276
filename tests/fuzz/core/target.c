/* What libFuzzer calls: the first byte chooses the entry points. */
#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
print_tally(void)
{
    fprintf(stderr, "tally: %llu inputs, %llu bytes drawn, %llu moved\n",
            tally.inputs, tally.drawn, tally.moved);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return atexit(print_tally);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const families[])(void) = {
        fuzz_streams,  fuzz_groups,    fuzz_sending,
        fuzz_segments, fuzz_receiving, fuzz_splice,
    };

    kernel_begin(data, size);
    families[draw_byte() % (sizeof(families) / sizeof(families[0]))]();
    kernel_end();
    return 0;
}
