/* Messages, with names and control messages of their own: what the kernel
 * takes is what was given, in order, each once.
 */
#include "kernel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FD = 5, MOST = TB_MESSAGES + 6 };

/* Pieces of `bytes`; their sizes may be more than it has. */
struct column {
    unsigned char *bytes;
    size_t size;
    uint32_t *sizes;
    size_t count;
};

static struct column
draw_column(size_t stream, size_t count, size_t limit)
{
    struct column column = { NULL, 0, NULL, count };
    size_t sum = 0;

    column.sizes = malloc(count * sizeof(uint32_t) + 1);
    CHECK(column.sizes != NULL);
    for (size_t i = 0; i < count; i++) {
        const size_t size = draw_size();

        column.sizes[i] = (uint32_t)(size > limit && size < 4000 ? limit
                                                                 : size);
        sum += column.sizes[i];
    }
    column.size = draw_byte() < 240 && sum < 100000 ? sum : draw_below(1000);
    column.bytes = patterned(stream, column.size);
    return column;
}

static size_t
draw_count(size_t messages)
{
    switch (draw_byte() % 4) {
    case 0:
        return 0;
    case 1:
        return 1;
    case 2:
        return messages;
    default:
        return draw_below(MOST);
    }
}

static void
column_free(struct column *column)
{
    free(column->bytes);
    free(column->sizes);
}

static int
fits(const struct column *column, size_t count)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += column->sizes[i];
    return sum <= column->size;
}

/* Whether a call with these may be made. */
static int
is_valid(const struct column *payloads, const struct column *names,
         const struct column *controls, size_t count)
{
    const struct column *columns[] = { names, controls };

    for (int i = 0; i < 2; i++) {
        const struct column *column = columns[i];
        const int each = column->count > 1;

        if (each && column->count < count)
            return 0;
        if (!fits(column, each ? count : column->count))
            return 0;
    }
    for (size_t i = 0; i < count && controls->count > 0; i++)
        if (controls->sizes[controls->count > 1 ? i : 0] > TB_CONTROL_SIZE)
            return 0;
    return fits(payloads, count);
}

static const void *
piece(const struct column *column, size_t i, size_t *size)
{
    size_t start = 0;

    *size = 0;
    if (column->count == 0)
        return NULL;
    if (column->count == 1)
        i = 0;
    for (size_t j = 0; j < i; j++)
        start += column->sizes[j];
    *size = column->sizes[i];
    return column->bytes + start;
}

static size_t
with_segment_size(unsigned char room[], uint16_t segment_size,
                  const void *control, size_t size)
{
    const struct cmsghdr header
        = { CMSG_LEN(sizeof(segment_size)), TB_SOL_UDP, TB_UDP_SEGMENT };

    memset(room, 0, CMSG_SPACE(sizeof(segment_size)));
    memcpy(room, &header, sizeof(header));
    memcpy(room + CMSG_LEN(0), &segment_size, sizeof(segment_size));
    if (size > 0)
        memcpy(room + CMSG_SPACE(sizeof(segment_size)), control, size);
    return CMSG_SPACE(sizeof(segment_size)) + size;
}

static void
expect(struct sink *expected, const struct column *payloads,
       const uint16_t segment_sizes[], const struct column *names,
       const struct column *controls, size_t i)
{
    unsigned char room[CMSG_SPACE(sizeof(uint16_t)) + TB_CONTROL_SIZE];
    size_t size, name_size, control_size;
    const void *payload = piece(payloads, i, &size);
    const void *name = piece(names, i, &name_size);
    const void *control = piece(controls, i, &control_size);

    if (segment_sizes != NULL && segment_sizes[i] > 0) {
        control_size = with_segment_size(room, segment_sizes[i], control,
                                         control_size);
        control = room;
    }
    sink_message(expected, payload, size, name, name_size, control,
                 control_size);
}

static size_t
at_most(size_t count)
{
    return count < TB_MESSAGES ? count : TB_MESSAGES;
}

static void
send_once(const struct column *payloads, const struct column *names,
          const struct column *controls)
{
    uint16_t segment_sizes[MOST];
    const int cut = draw_byte() & 1;
    struct sink expected = { NULL, 0, 0 };
    ssize_t result;

    for (size_t i = 0; i < payloads->count; i++)
        segment_sizes[i] = (uint16_t)(cut ? draw_size() : 0);
    kernel_mark();
    result = tb_send_datagrams(
        FD, (char *)payloads->bytes, payloads->size, payloads->sizes,
        segment_sizes, payloads->count, (char *)names->bytes, names->size,
        names->sizes, names->count, (char *)controls->bytes, controls->size,
        controls->sizes, controls->count);
    if (!is_valid(payloads, names, controls, at_most(payloads->count))) {
        CHECK(result == -EINVAL && kernel.calls == 0);
        return;
    }
    check_result(result);
    for (size_t i = 0; (ssize_t)i < result; i++)
        expect(&expected, payloads, segment_sizes, names, controls, i);
    CHECK(same(&expected, &kernel.sinks[FD]));
    sink_free(&expected);
}

static void
send_past(const struct column *payloads, const struct column *names,
          const struct column *controls)
{
    const int refusing[] = { ECONNREFUSED, EIO, EPERM, EMSGSIZE };
    unsigned char tries[TB_ERRORS] = { 0 };
    uint16_t segment_sizes[MOST];
    struct tb_outcomes outcomes;
    struct sink expected = { NULL, 0, 0 };
    const int cut = draw_byte() & 1;
    size_t failures = 0;
    ssize_t result;

    for (size_t i = 0; i < sizeof(refusing) / sizeof(refusing[0]); i++)
        tries[refusing[i]] = (unsigned char)draw_below(3);
    for (size_t i = 0; i < payloads->count; i++)
        segment_sizes[i] = (uint16_t)(cut ? draw_size() : 0);
    memset(&outcomes, 7, sizeof(outcomes));
    kernel_mark();
    result = tb_send_past(
        FD, (char *)payloads->bytes, payloads->size, payloads->sizes,
        segment_sizes, payloads->count, (char *)names->bytes, names->size,
        names->sizes, names->count, (char *)controls->bytes, controls->size,
        controls->sizes, controls->count, tries, &outcomes);
    if (!is_valid(payloads, names, controls, at_most(payloads->count))) {
        CHECK(result == -EINVAL && kernel.calls == 0);
        return;
    }
    CHECK(result >= 0 && (size_t)result <= at_most(payloads->count));
    CHECK(outcomes.stopped != 0
          || (size_t)result == at_most(payloads->count));
    for (size_t i = 0; (ssize_t)i < result; i++) {
        const unsigned char error = outcomes.errors[i];

        if (error == 0) {
            expect(&expected, payloads, segment_sizes, names, controls, i);
        } else {
            CHECK(segment_sizes[i] == 0 && tries[error] > 0);
            failures += tries[error];
        }
    }
    CHECK(same(&expected, &kernel.sinks[FD]));
    failures += outcomes.passed + (outcomes.stopped != 0);
    for (int error = 0; error < TB_ERRORS; error++)
        failures -= kernel.errors[error];
    /* Signals without end, nothing taken, and more than was offered stop a
     * call without an errno of the kernel's.
     */
    CHECK(failures == 0
          || (failures == 1
              && (outcomes.stopped == EAGAIN
                  || outcomes.stopped == EOVERFLOW)));
    sink_free(&expected);
}

static void
send_runs(const struct column *payloads)
{
    const char *runs[MOST];
    uint16_t segment_sizes[MOST];
    const size_t name_size = draw_below(TB_NAME_SIZE);
    const size_t control_size = draw_below(TB_CONTROL_SIZE + 4);
    unsigned char *name = patterned(8, name_size);
    unsigned char *control = patterned(9, control_size);
    uint32_t sizes[2] = { (uint32_t)name_size, (uint32_t)control_size };
    const struct column names = { name, name_size, &sizes[0], 1 };
    const struct column controls = { control, control_size, &sizes[1], 1 };
    struct sink expected = { NULL, 0, 0 };
    size_t start = 0;
    ssize_t result;

    if (fits(payloads, payloads->count)) {
        for (size_t i = 0; i < payloads->count; i++) {
            runs[i] = (char *)payloads->bytes + start;
            start += payloads->sizes[i];
            segment_sizes[i] = (uint16_t)(draw_byte() & 1 ? draw_size() : 0);
        }
        kernel_mark();
        result = tb_send_runs(FD, runs, payloads->sizes, segment_sizes,
                              payloads->count, (char *)name, name_size,
                              (char *)control, control_size);
        if (control_size > TB_CONTROL_SIZE)
            CHECK(result == -EINVAL && kernel.calls == 0);
        else
            check_result(result);
        for (size_t i = 0; (ssize_t)i < result; i++)
            expect(&expected, payloads, segment_sizes, &names, &controls, i);
        CHECK(same(&expected, &kernel.sinks[FD]));
    }
    sink_free(&expected);
    free(name);
    free(control);
}

void
fuzz_sending(void)
{
    const uint8_t kind = draw_byte() % 3;
    struct column payloads = draw_column(0, draw_below(MOST), SIZE_MAX);
    struct column names
        = draw_column(1, draw_count(payloads.count), TB_NAME_SIZE);
    struct column controls
        = draw_column(2, draw_count(payloads.count), TB_CONTROL_SIZE + 1);

    if (kind == 0)
        send_once(&payloads, &names, &controls);
    else if (kind == 1)
        send_past(&payloads, &names, &controls);
    else
        send_runs(&payloads);
    column_free(&payloads);
    column_free(&names);
    column_free(&controls);
}
