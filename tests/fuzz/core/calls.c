/* The system calls of the fake kernel. */
#include "kernel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

/* linux/errno.h's ERESTARTSYS, which recvmmsg(2) can let out. */
enum { RESTART = 512 };

static const int errors[] = {
    EPIPE,  ECONNRESET, ENOBUFS, EIO,    EINVAL, EMSGSIZE,
    EPERM,  ECONNREFUSED, ENOMEM, EBADF, EDESTADDRREQ, EAGAIN,
};

long
kernel_fail(int error)
{
    if (error == EINTR || error == RESTART) {
        kernel.interruptions++;
    } else {
        kernel.interruptions = 0;
        kernel.calls++;
        kernel.errors[error]++;
    }
    kernel.error = error;
    errno = error;
    return -1;
}

long
kernel_answer(size_t offered, int restarts)
{
    uint8_t kind;
    long taken;

    kernel.offered = offered;
    if (kernel.interruptions_to_come > 0) {
        kernel.interruptions_to_come--;
        return kernel_fail(EINTR);
    }
    kind = draw_byte() % 16;
    switch (kind) {
    case 6:
    case 7:
    case 8:
        taken = (long)draw_below(offered + 1);
        break;
    case 9:
        kernel.interruptions_to_come = draw_below(2 * TB_INTERRUPTIONS);
        return kernel_fail(EINTR);
    case 10:
        return kernel_fail(EAGAIN);
    case 11:
        return kernel_fail(
            errors[draw_below(sizeof(errors) / sizeof(errors[0]))]);
    case 12:
        taken = (long)(offered + 1 + draw_byte());
        break;
    case 13:
        taken = 0;
        break;
    case 14:
        return kernel_fail(restarts ? RESTART : EINTR);
    default:
        taken = (long)offered;
    }
    kernel.interruptions = 0;
    kernel.calls++;
    kernel.error = 0;
    kernel.answer = taken;
    return taken;
}

/* The kernel reads all that it is offered, whatever it takes: a block at a
 * time, as a sanitizer looks at the whole of it.
 */
static void
read_all(const void *start, size_t size)
{
    static unsigned char block[4096];
    const unsigned char *bytes = start;

    tally.moved += size;
    while (size > 0) {
        const size_t part = size < sizeof(block) ? size : sizeof(block);

        memcpy(block, bytes, part);
        /* So that the copy is made. */
        __asm__ volatile("" : : "r"(block) : "memory");
        bytes += part;
        size -= part;
    }
}

UNSEEN static size_t
room(const struct iovec iovecs[], size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += iovecs[i].iov_len;
    return size;
}

UNSEEN static long
take(int fd, const struct iovec iovecs[], size_t count)
{
    const size_t offered = room(iovecs, count);
    long taken;
    size_t left;

    CHECK(fd >= 0 && fd < FD_COUNT);
    CHECK(count <= TB_IOV_MAX);
    for (size_t i = 0; i < count; i++)
        read_all(iovecs[i].iov_base, iovecs[i].iov_len);
    taken = kernel_answer(offered, 0);
    if (taken < 0 || (size_t)taken > offered)
        return taken;
    left = (size_t)taken;
    for (size_t i = 0; i < count && left > 0; i++) {
        const size_t size
            = iovecs[i].iov_len < left ? iovecs[i].iov_len : left;

        sink_append(&kernel.sinks[fd], iovecs[i].iov_base, size);
        left -= size;
    }
    return taken;
}

UNSEEN static long
give(int fd, const struct iovec iovecs[], size_t count)
{
    const size_t offered = room(iovecs, count);
    const long given = kernel_answer(offered, 0);
    size_t left;

    CHECK(fd >= 0 && fd < FD_COUNT);
    CHECK(count <= TB_IOV_MAX);
    if (given < 0 || (size_t)given > offered)
        return given;
    left = (size_t)given;
    for (size_t i = 0; i < count && left > 0; i++)
        for (size_t j = 0; j < iovecs[i].iov_len && left > 0; j++, left--)
            ((unsigned char *)iovecs[i].iov_base)[j]
                = pattern((size_t)fd, kernel.given[fd]++);
    tally.moved += (size_t)given;
    return given;
}

ssize_t
fake_send(int fd, const void *data, size_t size, int flags)
{
    const struct iovec iovec = { (void *)(uintptr_t)data, size };

    CHECK((flags & ~MSG_MORE) == SEND_FLAGS);
    return take(fd, &iovec, 1);
}

ssize_t
fake_sendmsg(int fd, const struct msghdr *message, int flags)
{
    CHECK(flags == SEND_FLAGS);
    CHECK(message->msg_name == NULL && message->msg_control == NULL);
    return take(fd, message->msg_iov, message->msg_iovlen);
}

ssize_t
fake_sendto(int fd, const void *data, size_t size, int flags,
            const struct sockaddr *name, socklen_t name_size)
{
    long taken;

    CHECK(flags == SEND_FLAGS);
    CHECK((name == NULL) == (name_size == 0));
    read_all(data, size);
    read_all(name, name_size);
    taken = kernel_answer(size, 1);
    if (taken >= 0 && (size_t)taken <= size)
        sink_message(&kernel.sinks[fd], data, (size_t)taken, name, name_size,
                     NULL, 0);
    return taken;
}

ssize_t
fake_recv(int fd, void *data, size_t size, int flags)
{
    const struct iovec iovec = { data, size };

    CHECK(flags == MSG_DONTWAIT);
    return give(fd, &iovec, 1);
}

/* One control message, cut where there is no room: put_cmsg() in
 * net/core/scm.c. Returns the bytes that it takes up.
 */
static size_t
put_control(struct msghdr *header, size_t used, int level, int type,
            const void *data, size_t size)
{
    const size_t left = header->msg_controllen - used;
    struct cmsghdr item = { CMSG_LEN(size), level, type };
    unsigned char *at;

    if (header->msg_control == NULL || left < sizeof(item)) {
        header->msg_flags |= MSG_CTRUNC;
        return 0;
    }
    if (left < item.cmsg_len) {
        header->msg_flags |= MSG_CTRUNC;
        item.cmsg_len = left;
    }
    at = (unsigned char *)header->msg_control + used;
    memcpy(at, &item, sizeof(item));
    memcpy(at + CMSG_LEN(0), data, item.cmsg_len - CMSG_LEN(0));
    return left < CMSG_SPACE(size) ? left : CMSG_SPACE(size);
}

UNSEEN static void
put_payload(const struct iovec *iovec, size_t size)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)iovec->iov_base)[i] = pattern(0, i);
    tally.moved += size;
}

/* One datagram, or a train of them. Returns its size before it was cut. */
static size_t
fill(struct msghdr *header)
{
    const size_t slot = header->msg_iov[0].iov_len;
    size_t size = draw_below(2 * slot + 2);
    const size_t name_size = draw_below(2 * header->msg_namelen + 2);
    const uint8_t kinds = draw_byte();
    const unsigned char name[2 * TB_NAME_SIZE + 2] = { (unsigned char)size };
    const unsigned char other[12] = { 1, 2, 3 };
    size_t used = 0;

    CHECK(header->msg_iovlen == 1 && header->msg_flags == 0);
    put_payload(header->msg_iov, size < slot ? size : slot);
    if (size > slot)
        header->msg_flags |= MSG_TRUNC;
    memcpy(header->msg_name, name,
           name_size < header->msg_namelen ? name_size : header->msg_namelen);
    header->msg_namelen = (socklen_t)name_size;
    if (kinds & 1)
        used += put_control(header, used, SOL_SOCKET, SO_TIMESTAMPNS, other,
                            kinds >> 4 & 8);
    if (kinds & 2) {
        const int segment_size
            = kinds & 4 ? (int)draw_below(3000) : (int)draw_size();

        used += put_control(header, used, TB_SOL_UDP, TB_UDP_GRO,
                            &segment_size, sizeof(segment_size));
    }
    if (kinds & 8)
        used += put_control(header, used, SOL_SOCKET, 40, other,
                            sizeof(other));
    header->msg_controllen = used;
    return size;
}

ssize_t
fake_recvmsg(int fd, struct msghdr *message, int flags)
{
    long given;

    if (!kernel.has_datagrams) {
        CHECK(flags == MSG_DONTWAIT);
        return give(fd, message->msg_iov, message->msg_iovlen);
    }
    CHECK(flags == (MSG_DONTWAIT | MSG_TRUNC));
    /* One datagram: there is no more, and no less. */
    given = kernel_answer(1, 1);
    if (given < 0)
        return given;
    kernel.answer = 1;
    return (ssize_t)fill(message);
}

int
fake_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
              struct timespec *timeout)
{
    long given;

    (void)fd;
    CHECK(flags == (MSG_DONTWAIT | MSG_TRUNC) && timeout == NULL);
    CHECK(count > 1 && count <= TB_MESSAGES);
    given = kernel_answer(count, 1);
    if (given < 0 || given > (long)count)
        return (int)given;
    for (long i = 0; i < given; i++)
        messages[i].msg_len = (unsigned int)fill(&messages[i].msg_hdr);
    return (int)given;
}

static long
send_messages(int fd, const struct mmsghdr *messages, unsigned int count,
              int flags)
{
    long taken;

    CHECK(flags == SEND_FLAGS);
    CHECK(count <= TB_MESSAGES);
    for (unsigned int i = 0; i < count; i++) {
        const struct msghdr *header = &messages[i].msg_hdr;

        CHECK(header->msg_iovlen == 1);
        CHECK((header->msg_name == NULL) == (header->msg_namelen == 0));
        CHECK((header->msg_control == NULL) == (header->msg_controllen == 0));
        read_all(header->msg_iov[0].iov_base, header->msg_iov[0].iov_len);
        read_all(header->msg_name, header->msg_namelen);
        read_all(header->msg_control, header->msg_controllen);
    }
    taken = kernel_answer(count, 1);
    if (taken > (long)count)
        return taken;
    for (long i = 0; i < taken; i++) {
        const struct msghdr *header = &messages[i].msg_hdr;

        sink_message(&kernel.sinks[fd], header->msg_iov[0].iov_base,
                     header->msg_iov[0].iov_len, header->msg_name,
                     header->msg_namelen, header->msg_control,
                     header->msg_controllen);
    }
    return taken;
}

long
fake_syscall(long number, ...)
{
    va_list list;
    int fd;
    const struct mmsghdr *messages;
    unsigned int count;
    int flags;

    CHECK(number == SYS_sendmmsg);
    va_start(list, number);
    fd = va_arg(list, int);
    messages = va_arg(list, const struct mmsghdr *);
    count = va_arg(list, unsigned int);
    flags = va_arg(list, int);
    va_end(list);
    return send_messages(fd, messages, count, flags);
}
