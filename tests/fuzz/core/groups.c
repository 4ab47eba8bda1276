/* Many streams at once: each gets, and gives, its own. */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 24 };

static void
broadcast(void)
{
    const size_t count = draw_below(MOST + 1);
    const size_t size = draw_below(600);
    unsigned char *bytes = patterned(0, size);
    int fds[MOST];
    ssize_t results[MOST];

    for (size_t i = 0; i < count; i++)
        fds[i] = (int)i;
    kernel_mark();
    tb_broadcast(fds, results, count, bytes, size);
    for (size_t i = 0; i < count; i++) {
        const size_t sent = results[i] > 0 ? (size_t)results[i] : 0;

        CHECK(kernel.sinks[i].size == sent);
        CHECK(sent == 0 || memcmp(kernel.sinks[i].bytes, bytes, sent) == 0);
    }
    free(bytes);
}

static void
receive(void)
{
    const size_t count = draw_below(MOST + 1);
    const size_t size = draw_size();
    const size_t room = draw_below(4096);
    unsigned char *memory = patterned(0, room);
    const unsigned char *next = memory;
    int fds[MOST];
    ssize_t results[MOST];
    ssize_t result;

    for (size_t i = 0; i < count; i++)
        fds[i] = (int)i;
    kernel_mark();
    result = tb_receive_group(fds, count, (char *)memory, room, size, results);
    if (size == 0 || (count > 0 && size > room / count)) {
        CHECK(result == -EINVAL && kernel.calls == 0);
        free(memory);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const size_t given = results[i] > 0 ? (size_t)results[i] : 0;

        CHECK(is_pattern(next, given, (size_t)fds[i], 0));
        next += given;
    }
    CHECK(result == next - memory);
    free(memory);
}

static void
send_messages(void)
{
    const size_t count = draw_below(MOST + 1);
    /* Some are large, so that they are pointed to and not copied. */
    const size_t unit = draw_byte() & 1 ? 1 : 5000;
    const size_t piece_count = draw_below(unit > 1 ? 12 : 100);
    const size_t scratch_size = draw_below(unit > 1 ? 40 : 3000) * unit;
    struct iovec *pieces = malloc(piece_count * sizeof(*pieces) + 1);
    char *scratch = malloc(scratch_size + 1);
    struct sink whole[MOST] = { { NULL, 0, 0 } };
    uint32_t counts[MOST];
    int fds[MOST];
    ssize_t results[MOST];
    size_t wanted = 0, took_all = 0, next = 0;
    unsigned char *bytes[100];
    ssize_t result;

    CHECK(pieces != NULL && scratch != NULL);
    for (size_t i = 0; i < piece_count; i++) {
        pieces[i].iov_len = draw_below(8) * unit;
        pieces[i].iov_base = bytes[i] = patterned(i, pieces[i].iov_len);
    }
    for (size_t i = 0; i < count; i++) {
        fds[i] = (int)i;
        counts[i] = (uint32_t)(draw_byte() < 250 ? draw_below(8)
                                                 : draw_size());
        wanted += counts[i];
    }
    for (size_t i = 0; i < count && wanted <= piece_count; i++)
        for (uint32_t j = 0; j < counts[i]; j++, next++)
            sink_append(&whole[i], pieces[next].iov_base,
                        pieces[next].iov_len);
    kernel_mark();
    result = tb_send_group(fds, counts, count, pieces, piece_count, scratch,
                           scratch_size, results);
    if (wanted > piece_count) {
        CHECK(result == -EINVAL && kernel.calls == 0);
    } else {
        for (size_t i = 0; i < count; i++) {
            const size_t sent = results[i] > 0 ? (size_t)results[i] : 0;

            CHECK(kernel.sinks[i].size == sent && sent <= whole[i].size);
            CHECK(sent == 0
                  || memcmp(kernel.sinks[i].bytes, whole[i].bytes, sent) == 0);
            took_all += results[i] >= 0 && sent == whole[i].size;
        }
        CHECK(result == (ssize_t)took_all);
    }
    for (size_t i = 0; i < count; i++)
        sink_free(&whole[i]);
    for (size_t i = 0; i < piece_count; i++)
        free(bytes[i]);
    free(pieces);
    free(scratch);
}

void
fuzz_groups(void)
{
    switch (draw_byte() % 3) {
    case 0:
        broadcast();
        break;
    case 1:
        receive();
        break;
    default:
        send_messages();
    }
}
