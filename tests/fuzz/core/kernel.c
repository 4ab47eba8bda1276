#include "kernel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct kernel kernel;
struct tally tally;

void
failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

void
kernel_begin(const uint8_t *data, size_t size)
{
    tally.inputs++;
    memset(&kernel, 0, sizeof(kernel));
    kernel.next = data;
    kernel.left = size;
}

void
kernel_end(void)
{
    for (size_t fd = 0; fd < FD_COUNT; fd++)
        sink_free(&kernel.sinks[fd]);
}

void
kernel_mark(void)
{
    kernel.calls = kernel.interruptions = 0;
    kernel.error = 0;
    kernel.answer = 0;
    memset(kernel.errors, 0, sizeof(kernel.errors));
}

uint8_t
draw_byte(void)
{
    if (kernel.left == 0)
        return 0;
    kernel.left--;
    tally.drawn++;
    return *kernel.next++;
}

size_t
draw_below(size_t limit)
{
    size_t number = draw_byte();

    if (limit > 256)
        number = number << 8 | draw_byte();
    return limit > 0 ? number % limit : 0;
}

size_t
draw_size(void)
{
    const uint8_t kind = draw_byte();

    if (kind < 224)
        return kind % 32;
    if (kind < 248)
        return draw_below(2048);
    return kind < 252 ? UINT32_MAX - draw_byte() : SIZE_MAX - draw_byte();
}

UNSEEN uint8_t
pattern(size_t stream, size_t position)
{
    return (uint8_t)(position * 7 + (position >> 8) + stream * 31 + 1);
}

UNSEEN unsigned char *
patterned(size_t stream, size_t size)
{
    unsigned char *bytes = malloc(size > 0 ? size : 1);

    CHECK(bytes != NULL);
    for (size_t i = 0; i < size; i++)
        bytes[i] = pattern(stream, i);
    return bytes;
}

UNSEEN int
is_pattern(const void *bytes, size_t size, size_t stream, size_t start)
{
    size_t i = 0;

    while (i < size
           && ((const unsigned char *)bytes)[i] == pattern(stream, start + i))
        i++;
    return i == size;
}

void
sink_append(struct sink *sink, const void *bytes, size_t size)
{
    if (sink->room - sink->size < size) {
        sink->room = 2 * sink->room + size;
        sink->bytes = realloc(sink->bytes, sink->room);
        CHECK(sink->bytes != NULL);
    }
    if (size > 0)
        memcpy(sink->bytes + sink->size, bytes, size);
    sink->size += size;
}

void
sink_message(struct sink *sink, const void *payload, size_t size,
             const void *name, size_t name_size, const void *control,
             size_t control_size)
{
    const size_t sizes[] = { size, name_size, control_size };

    sink_append(sink, sizes, sizeof(sizes));
    sink_append(sink, payload, size);
    sink_append(sink, name, name_size);
    sink_append(sink, control, control_size);
}

void
sink_free(struct sink *sink)
{
    free(sink->bytes);
    memset(sink, 0, sizeof(*sink));
}

int
same(const struct sink *one, const struct sink *other)
{
    return one->size == other->size
           && (one->size == 0
               || memcmp(one->bytes, other->bytes, one->size) == 0);
}

void
check_result(ssize_t result)
{
    if (kernel.error == EINTR || kernel.error == 512) {
        CHECK(kernel.interruptions == TB_INTERRUPTIONS + 1);
        CHECK(result == -EAGAIN);
    } else if (kernel.error != 0) {
        CHECK(result == -kernel.error);
    } else if ((size_t)kernel.answer > kernel.offered) {
        CHECK(result == -EOVERFLOW);
    } else {
        CHECK(result == kernel.answer);
    }
}
