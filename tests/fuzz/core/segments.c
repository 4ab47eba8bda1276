/* Datagrams of one size to one peer, and lone ones. */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FD = 6 };

struct peer {
    unsigned char *name;
    size_t name_size;
    unsigned char *control;
    size_t control_size;
};

/* The messages that `taken` bytes of the payload come to. */
static void
expect(struct sink *expected, const unsigned char *payload, size_t size,
       size_t taken, uint16_t segment_size, size_t run_size,
       const struct peer *peer)
{
    unsigned char room[CMSG_SPACE(sizeof(uint16_t)) + TB_CONTROL_SIZE];
    const struct cmsghdr header
        = { CMSG_LEN(sizeof(segment_size)), TB_SOL_UDP, TB_UDP_SEGMENT };
    const size_t space = CMSG_SPACE(sizeof(segment_size));

    memset(room, 0, sizeof(room));
    memcpy(room, &header, sizeof(header));
    memcpy(room + CMSG_LEN(0), &segment_size, sizeof(segment_size));
    if (peer->control_size > 0)
        memcpy(room + space, peer->control, peer->control_size);
    for (size_t start = 0; start < taken; start += run_size) {
        const size_t run = size - start < run_size ? size - start : run_size;
        const int is_cut = run > segment_size;

        sink_message(expected, payload + start, run, peer->name,
                     peer->name_size, is_cut ? room : peer->control,
                     is_cut ? space + peer->control_size
                            : peer->control_size);
    }
}

static void
send_segments(const struct peer *peer)
{
    const size_t size = draw_below(5000);
    const uint16_t segment_size = (uint16_t)draw_size();
    const size_t run_size = draw_byte() < 240
                                ? segment_size * draw_below(65)
                                : draw_size();
    unsigned char *payload = patterned(0, size);
    struct sink expected = { NULL, 0, 0 };
    ssize_t result;

    kernel_mark();
    result = tb_send_segments(FD, (char *)payload, size, segment_size,
                              run_size, (char *)peer->name, peer->name_size,
                              (char *)peer->control, peer->control_size);
    if (segment_size == 0 || run_size < segment_size
        || peer->control_size > TB_CONTROL_SIZE) {
        CHECK(result == -EINVAL && kernel.calls == 0);
    } else if (result > 0) {
        CHECK((size_t)result <= size);
        CHECK((size_t)result == size || (size_t)result % run_size == 0);
        expect(&expected, payload, size, (size_t)result, segment_size,
               run_size, peer);
    } else if (result < 0) {
        check_result(result);
    }
    CHECK(same(&expected, &kernel.sinks[FD]));
    sink_free(&expected);
    free(payload);
}

static void
send_batch(const struct peer *peer)
{
    struct tb_batch batch = { 0 };
    const struct peer plain = { peer->name, peer->name_size, NULL, 0 };
    struct sink expected = { NULL, 0, 0 };
    size_t taken = 0;
    ssize_t result;

    batch.size = batch.room = draw_below(5000);
    batch.memory = (char *)patterned(0, batch.room);
    batch.segment_size = (uint16_t)(1 + draw_below(2000));
    batch.run_size = batch.segment_size * (1 + draw_below(64));
    batch.name_size = (uint16_t)peer->name_size;
    memcpy(batch.name, peer->name, peer->name_size);
    kernel_mark();
    result = tb_send_batch(FD, &batch);
    if (result > 0) {
        taken = (size_t)result * batch.segment_size;
        if (taken > batch.size)
            taken = batch.size;
        expect(&expected, (unsigned char *)batch.memory, batch.size, taken,
               batch.segment_size, batch.run_size, &plain);
    } else if (result < 0) {
        check_result(result);
    }
    CHECK(same(&expected, &kernel.sinks[FD]));
    sink_free(&expected);
    free(batch.memory);
}

static void
send_one(const struct peer *peer)
{
    const size_t size = draw_below(2000);
    unsigned char *payload = patterned(0, size);
    struct sink expected = { NULL, 0, 0 };
    ssize_t result;

    kernel_mark();
    result = tb_send_datagram(FD, payload, size, (char *)peer->name,
                              peer->name_size);
    check_result(result);
    if (result >= 0)
        sink_message(&expected, payload, (size_t)result, peer->name,
                     peer->name_size, NULL, 0);
    CHECK(same(&expected, &kernel.sinks[FD]));
    sink_free(&expected);
    free(payload);
}

void
fuzz_segments(void)
{
    const uint8_t kind = draw_byte() % 3;
    struct peer peer = { NULL, draw_below(TB_NAME_SIZE + 1), NULL,
                         draw_below(TB_CONTROL_SIZE + 4) };

    peer.name = patterned(8, peer.name_size);
    peer.control = patterned(9, peer.control_size);
    if (kind == 0)
        send_segments(&peer);
    else if (kind == 1)
        send_batch(&peer);
    else
        send_one(&peer);
    free(peer.name);
    free(peer.control);
}
