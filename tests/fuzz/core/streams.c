/* Gathered sends and scattered receives, as their callers make them: until
 * all is sent, or an error other than EAGAIN.
 */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const int FD = 3;

/* Pieces that lie one behind the other in `size` bytes. */
static struct iovec *
cut(unsigned char *bytes, size_t size, size_t count)
{
    struct iovec *iovecs = malloc(count * sizeof(*iovecs) + 1);
    void **bases = malloc(count * sizeof(*bases) + 1);
    size_t *sizes = malloc(count * sizeof(*sizes) + 1);
    const size_t piece = draw_byte() & 1 ? 0 : size / (count + 1);

    CHECK(iovecs != NULL && bases != NULL && sizes != NULL);
    for (size_t i = 0; i < count; i++) {
        const size_t at_most = piece > 0 ? piece : draw_byte();

        bases[i] = bytes;
        sizes[i] = i + 1 == count || at_most > size ? size : at_most;
        bytes += sizes[i];
        size -= sizes[i];
    }
    tb_point(iovecs, bases, sizes, count);
    free(bases);
    free(sizes);
    return iovecs;
}

UNSEEN static size_t
rest(const struct tb_vector *vector)
{
    size_t size = 0;

    for (size_t i = vector->next; i < vector->count; i++)
        size += vector->iovecs[i].iov_len;
    return size;
}

static void
check_sent(const unsigned char *bytes, size_t sent)
{
    const struct sink *sink = &kernel.sinks[FD];

    CHECK(sink->size == sent);
    CHECK(sent == 0 || memcmp(sink->bytes, bytes, sent) == 0);
}

static void
send_gathered(void)
{
    const size_t size = 1 + draw_below(4096);
    const size_t count = 1 + draw_below(1400);
    unsigned char *bytes = patterned(0, size);
    struct tb_vector vector = { cut(bytes, size, count), count, 0 };
    size_t sent = 0;

    for (int i = 0; i < MAX_ROUNDS && sent < size; i++) {
        ssize_t result;

        kernel_mark();
        result = tb_send_vector(FD, &vector);
        check_result(result);
        CHECK(kernel.calls <= 1);
        if (result > 0)
            sent += (size_t)result;
        CHECK(rest(&vector) == size - sent);
        check_sent(bytes, sent);
    }
    CHECK(sent < size || vector.next == vector.count);
    free(vector.iovecs);
    free(bytes);
}

static void
send_pieces(void)
{
    const size_t size = draw_below(2048);
    unsigned char *bytes = patterned(0, size);
    size_t sent = 0;

    for (int i = 0; i < MAX_ROUNDS && sent < size; i++) {
        ssize_t result;

        kernel_mark();
        result = draw_byte() & 1
                     ? tb_send(FD, bytes + sent, size - sent)
                     : tb_send_more(FD, bytes + sent, size - sent);
        check_result(result);
        if (result > 0)
            sent += (size_t)result;
        check_sent(bytes, sent);
    }
    free(bytes);
}

static void
check_given(const unsigned char *memory, size_t size, size_t start)
{
    CHECK(is_pattern(memory, size, FD, start));
    CHECK(kernel.given[FD] == start + size);
}

static void
receive(void)
{
    const size_t size = draw_below(4096);
    const size_t count = draw_below(1400);
    unsigned char *memory = patterned(0, size);
    struct iovec *iovecs = cut(memory, size, count);

    for (int i = 0; i < 4; i++) {
        const size_t start = kernel.given[FD];
        ssize_t result;

        kernel_mark();
        result = draw_byte() & 1 ? tb_receive(FD, memory, size)
                                 : tb_receive_vector(FD, iovecs, count);
        check_result(result);
        check_given(memory, result > 0 ? (size_t)result : 0, start);
    }
    free(iovecs);
    free(memory);
}

void
fuzz_streams(void)
{
    switch (draw_byte() % 3) {
    case 0:
        send_gathered();
        break;
    case 1:
        send_pieces();
        break;
    default:
        receive();
    }
}
