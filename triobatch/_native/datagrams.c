#include "answers.h"
#include "regions.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The control messages of one segmented message. */
union tb_control {
    size_t aligned; /* as struct cmsghdr, which no array can hold */
    char bytes[CMSG_SPACE(sizeof(uint16_t)) + TB_CONTROL_SIZE];
};

static size_t
put_segment_size(union tb_control *room, uint16_t segment_size,
                 const char *control, size_t control_size)
{
    struct cmsghdr *header = (void *)room->bytes;

    memset(room->bytes, 0, CMSG_SPACE(sizeof(segment_size)));
    header->cmsg_level = TB_SOL_UDP;
    header->cmsg_type = TB_UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(segment_size));
    memcpy(CMSG_DATA(header), &segment_size, sizeof(segment_size));
    if (control_size > 0)
        memcpy(room->bytes + CMSG_SPACE(sizeof(segment_size)), control,
               control_size);
    return CMSG_SPACE(sizeof(segment_size)) + control_size;
}

/* The kernel reads through these pointers only, but msghdr and iovec serve
 * receiving too and so cannot say const.
 */
static void *
writable(const char *pointer)
{
    return (void *)(uintptr_t)pointer;
}

static ssize_t
send_messages(int fd, struct mmsghdr messages[], size_t count)
{
    long sent;
    int tries = TB_INTERRUPTIONS;

    tb_check_messages(messages, count);
    do {
        /* Not sendmmsg(): musl's is a loop over sendmsg(2). */
        sent = syscall(SYS_sendmmsg, fd, messages, (unsigned int)count,
                       MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && interrupted(errno) && tries-- > 0);
    return checked(sent, count);
}

/* Whether the pieces lie within `room` bytes, one behind the other. */
static int
fit(const uint32_t sizes[], size_t count, size_t room)
{
    for (size_t i = 0; i < count; i++) {
        /* Not a sum, which could overflow. */
        if (sizes[i] > room)
            return 0;
        room -= sizes[i];
    }
    return 1;
}

/* The headers of messages that are sent, and what they point at. */
struct messages {
    struct mmsghdr headers[TB_MESSAGES];
    struct iovec iovecs[TB_MESSAGES];
    union tb_control rooms[TB_MESSAGES];
};

/* What goes with the payloads: nothing, one piece for all messages, or one for
 * each, one behind the other.
 */
struct column {
    const char *bytes;
    size_t bytes_size;
    const uint32_t *sizes;
    size_t count;
};

/* Whether `column` has what `count` messages need, and all of it lies there. */
static int
serves(struct column column, size_t count)
{
    if (column.count > 1 && column.count < count)
        return 0;
    return fit(column.sizes, column.count > 1 ? count : column.count,
               column.bytes_size);
}

/* The piece that goes with message i; `column` moves on with it. */
static const char *
next_piece(struct column *column, size_t i, uint32_t *size)
{
    const char *piece = column->bytes;

    *size = column->count == 0 ? 0 : column->sizes[column->count > 1 ? i : 0];
    if (column->count > 1)
        column->bytes += *size;
    return piece;
}

/* Point `messages` at what is to be sent; segment_sizes may be NULL. Returns
 * how many there are, or -EINVAL.
 */
static ssize_t
point(struct messages *messages, const char *payload, size_t payload_size,
      const uint32_t sizes[], const uint16_t segment_sizes[], size_t count,
      struct column names, struct column controls)
{
    count = at_most_messages(count);
    if (!fit(sizes, count, payload_size) || !serves(names, count)
        || !serves(controls, count))
        return -EINVAL;
    /* Zeroed whole: musl's msghdr has padding that the kernel reads. */
    memset(messages->headers, 0, count * sizeof(messages->headers[0]));
    for (size_t i = 0; i < count; i++) {
        struct msghdr *header = &messages->headers[i].msg_hdr;
        uint32_t name_size;
        uint32_t control_size;
        const char *name = next_piece(&names, i, &name_size);
        const char *control = next_piece(&controls, i, &control_size);

        if (control_size > TB_CONTROL_SIZE)
            return -EINVAL;
        messages->iovecs[i].iov_base = writable(payload);
        messages->iovecs[i].iov_len = sizes[i];
        payload += sizes[i];
        header->msg_iov = &messages->iovecs[i];
        header->msg_iovlen = 1;
        if (name_size > 0) {
            header->msg_name = writable(name);
            header->msg_namelen = name_size;
        }
        if (segment_sizes != NULL && segment_sizes[i] > 0) {
            header->msg_control = messages->rooms[i].bytes;
            header->msg_controllen
                = put_segment_size(&messages->rooms[i], segment_sizes[i],
                                   control, control_size);
        } else if (control_size > 0) {
            header->msg_control = writable(control);
            header->msg_controllen = control_size;
        }
    }
    return (ssize_t)count;
}

ssize_t
tb_send_datagrams(int fd, const char *payload, size_t payload_size,
                  const uint32_t sizes[], const uint16_t segment_sizes[],
                  size_t count, const char *names, size_t names_size,
                  const uint32_t name_sizes[], size_t name_count,
                  const char *controls, size_t controls_size,
                  const uint32_t control_sizes[], size_t control_count)
{
    struct messages messages;
    ssize_t pointed = point(
        &messages, payload, payload_size, sizes, segment_sizes, count,
        (struct column){ names, names_size, name_sizes, name_count },
        (struct column){ controls, controls_size, control_sizes,
                         control_count });

    if (pointed < 0)
        return pointed;
    return send_messages(fd, messages.headers, (size_t)pointed);
}

ssize_t
tb_send_past(int fd, const char *payload, size_t payload_size,
             const uint32_t sizes[], const uint16_t segment_sizes[],
             size_t count, const char *names, size_t names_size,
             const uint32_t name_sizes[], size_t name_count,
             const char *controls, size_t controls_size,
             const uint32_t control_sizes[], size_t control_count,
             const unsigned char tries[], struct tb_outcomes *outcomes)
{
    struct messages messages;
    ssize_t pointed = point(
        &messages, payload, payload_size, sizes, segment_sizes, count,
        (struct column){ names, names_size, name_sizes, name_count },
        (struct column){ controls, controls_size, control_sizes,
                         control_count });
    size_t done = 0;
    /* What the first message in line has met, and whether it goes alone. */
    int failed = 0;
    int alone = 0;

    memset(outcomes, 0, sizeof(*outcomes));
    if (pointed < 0)
        return pointed;
    while (done < (size_t)pointed) {
        size_t left = (size_t)pointed - done;
        ssize_t sent
            = send_messages(fd, &messages.headers[done], alone ? 1 : left);
        /* None taken, and no errno, is no progress. */
        int error = sent < 0 ? (int)-sent : EAGAIN;
        int needed;

        outcomes->calls++;
        if (sent > 0) {
            outcomes->passed += failed != 0;
            failed = alone = 0;
            done += (size_t)sent;
            continue;
        }
        /* Two kinds of failure are for the caller to judge. */
        outcomes->passed += failed != 0 && failed != error;
        needed = error < TB_ERRORS && segment_sizes[done] == 0 ? tries[error]
                                                               : 0;
        if (needed == 0 || (failed != 0 && failed != error)) {
            outcomes->stopped = error;
            return (ssize_t)done;
        }
        alone = 1;
        if (failed == 0 && needed > 1) {
            failed = error;
            continue;
        }
        outcomes->errors[done++] = (unsigned char)error;
        failed = 0;
    }
    return pointed;
}

ssize_t
tb_send_runs(int fd, const char *const runs[], const uint32_t sizes[],
             const uint16_t segment_sizes[], size_t count, const char *name,
             size_t name_size, const char *control, size_t control_size)
{
    struct messages messages;

    if (control_size > TB_CONTROL_SIZE)
        return -EINVAL;
    count = at_most_messages(count);
    memset(messages.headers, 0, count * sizeof(messages.headers[0]));
    for (size_t i = 0; i < count; i++) {
        struct msghdr *header = &messages.headers[i].msg_hdr;

        messages.iovecs[i].iov_base = writable(runs[i]);
        messages.iovecs[i].iov_len = sizes[i];
        header->msg_iov = &messages.iovecs[i];
        header->msg_iovlen = 1;
        if (name_size > 0) {
            header->msg_name = writable(name);
            header->msg_namelen = (socklen_t)name_size;
        }
        if (segment_sizes[i] > 0) {
            header->msg_control = messages.rooms[i].bytes;
            header->msg_controllen
                = put_segment_size(&messages.rooms[i], segment_sizes[i],
                                   control, control_size);
        } else if (control_size > 0) {
            header->msg_control = writable(control);
            header->msg_controllen = control_size;
        }
    }
    return send_messages(fd, messages.headers, count);
}

ssize_t
tb_send_segments(int fd, const char *payload, size_t payload_size,
                 uint16_t segment_size, size_t run_size, const char *name,
                 size_t name_size, const char *control, size_t control_size)
{
    struct mmsghdr messages[TB_MESSAGES];
    struct iovec iovecs[TB_MESSAGES];
    union tb_control room;
    size_t room_size;
    size_t count = 0;
    size_t offered = 0;
    ssize_t sent;

    if (control_size > TB_CONTROL_SIZE || segment_size == 0
        || run_size < segment_size)
        return -EINVAL;
    room_size = put_segment_size(&room, segment_size, control, control_size);
    while (offered < payload_size && count < TB_MESSAGES) {
        struct msghdr *header = &messages[count].msg_hdr;
        size_t left = payload_size - offered;
        size_t run = left < run_size ? left : run_size;

        memset(&messages[count], 0, sizeof(messages[count]));
        iovecs[count].iov_base = writable(payload + offered);
        iovecs[count].iov_len = run;
        header->msg_iov = &iovecs[count];
        header->msg_iovlen = 1;
        if (name_size > 0) {
            header->msg_name = writable(name);
            header->msg_namelen = (socklen_t)name_size;
        }
        if (run > segment_size) {
            header->msg_control = room.bytes;
            header->msg_controllen = room_size;
        } else if (control_size > 0) {
            header->msg_control = writable(control);
            header->msg_controllen = control_size;
        }
        offered += run;
        count++;
    }
    sent = send_messages(fd, messages, count);
    if (sent < 0)
        return sent;
    return (size_t)sent == count ? (ssize_t)offered
                                 : (ssize_t)((size_t)sent * run_size);
}

ssize_t
tb_send_batch(int fd, const struct tb_batch *batch)
{
    ssize_t taken
        = tb_send_segments(fd, batch->memory, batch->size, batch->segment_size,
                           batch->run_size, batch->name, batch->name_size,
                           NULL, 0);

    if (taken <= 0)
        return taken;
    return (taken - 1) / batch->segment_size + 1;
}

ssize_t
tb_send_datagram(int fd, const void *data, size_t size, const char *name,
                 size_t name_size)
{
    ssize_t taken;
    int tries = TB_INTERRUPTIONS;

    tb_check_region(data, size);
    tb_check_region(name, name_size);
    do {
        taken = sendto(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL,
                       name_size > 0 ? (const void *)name : NULL,
                       (socklen_t)name_size);
    } while (taken < 0 && interrupted(errno) && tries-- > 0);
    return checked(taken, size);
}
