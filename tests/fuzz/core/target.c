/* What libFuzzer calls: the first byte chooses the entry points. */
#include "kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
