/* Datagrams into an arena: trains, cut payloads, names and control messages. */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FD = 7, MOST = TB_MESSAGES + 6 };

static uint32_t *
draw_numbers(size_t count)
{
    uint32_t *numbers = malloc(count * sizeof(uint32_t) + 1);

    CHECK(numbers != NULL);
    for (size_t i = 0; i < count; i++)
        numbers[i] = 77;
    return numbers;
}

/* What an arena's columns say, against what they have to. */
static void
check_filled(const struct tb_arena *arena, size_t count)
{
    uint32_t datagrams = 0;

    for (size_t i = 0; i < count; i++) {
        const uint32_t size = arena->sizes[i];
        const uint32_t segment = arena->segment_sizes[i];

        CHECK(!!(arena->flags[i] & MSG_TRUNC) == (size > arena->slot_size));
        CHECK(arena->control_sizes[i] <= arena->control_size);
        CHECK(is_pattern(arena->memory + i * arena->slot_size,
                         size < arena->slot_size ? size : arena->slot_size, 0,
                         0));
        CHECK(segment <= INT32_MAX);
        datagrams += size > 0 && segment > 0
                         ? size / segment + (size % segment > 0)
                         : 1;
    }
    CHECK(arena->filling->messages == count);
    CHECK(arena->filling->datagrams == datagrams);
    CHECK(arena->filling->next == 0 && arena->filling->offset == 0);
}

void
fuzz_receiving(void)
{
    struct tb_filling filling = { 5, 6, 7, 8 };
    struct tb_arena arena = { 0 };
    const size_t slots = draw_below(MOST);

    arena.slots = slots;
    arena.slot_size = draw_below(600);
    arena.name_size = draw_below(TB_NAME_SIZE + 1);
    arena.control_size = draw_byte() & 1 ? draw_below(20) * sizeof(size_t) : 0;
    arena.memory = (char *)patterned(1, slots * arena.slot_size);
    arena.names = (char *)patterned(1, slots * arena.name_size);
    arena.control = (char *)patterned(1, slots * arena.control_size);
    arena.sizes = draw_numbers(slots);
    arena.flags = draw_numbers(slots);
    arena.name_sizes = draw_numbers(slots);
    arena.control_sizes = draw_numbers(slots);
    arena.segment_sizes = draw_numbers(slots);
    arena.filling = &filling;
    kernel.has_datagrams = 1;
    for (int i = 0; i < 3; i++) {
        const size_t count = draw_size();
        const struct tb_filling before = filling;
        ssize_t result;

        kernel_mark();
        result = tb_receive_datagrams(FD, &arena, count);
        if (count == 0 || slots == 0)
            CHECK(result == -EINVAL && kernel.calls == 0);
        else
            check_result(result);
        if (result >= 0) {
            CHECK((size_t)result <= count && (size_t)result <= slots);
            check_filled(&arena, (size_t)result);
        } else {
            CHECK(memcmp(&before, &filling, sizeof(filling)) == 0);
        }
    }
    free(arena.memory);
    free(arena.names);
    free(arena.control);
    free(arena.sizes);
    free(arena.flags);
    free(arena.name_sizes);
    free(arena.control_sizes);
    free(arena.segment_sizes);
}
