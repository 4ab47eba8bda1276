#include "core.h"
#include "regions.h"

#include <errno.h>

/* Without MSG_NOSIGNAL a closed peer would kill a process whose SIGPIPE is at
 * its default. MSG_DONTWAIT holds whatever the descriptor's own mode is.
 */
#define TB_SEND_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL)

static size_t
at_most_iov_max(size_t count)
{
    return count < TB_IOV_MAX ? count : TB_IOV_MAX;
}

/* What a call has answered: bytes, at most as many as it was offered, or
 * -errno.
 */
static ssize_t
checked(ssize_t answer, size_t offered)
{
    if (answer < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    return (size_t)answer > offered ? -EOVERFLOW : answer;
}

ssize_t
tb_send(int fd, const void *data, size_t size)
{
    ssize_t sent;
    int tries = TB_INTERRUPTIONS;

    tb_check_region(data, size);
    do {
        sent = send(fd, data, size, TB_SEND_FLAGS);
    } while (sent < 0 && errno == EINTR && tries-- > 0);
    return checked(sent, size);
}

static size_t
room(const struct iovec iovecs[], size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += iovecs[i].iov_len;
    return size;
}

static void
advance(struct tb_vector *vector, size_t size)
{
    while (vector->next < vector->count) {
        struct iovec *front = &vector->iovecs[vector->next];

        if (size < front->iov_len) {
            front->iov_base = (char *)front->iov_base + size;
            front->iov_len -= size;
            return;
        }
        size -= front->iov_len;
        vector->next++;
    }
}

ssize_t
tb_send_vector(int fd, struct tb_vector *vector)
{
    struct msghdr message = {0};
    ssize_t sent;
    int tries = TB_INTERRUPTIONS;

    message.msg_iov = vector->iovecs + vector->next;
    message.msg_iovlen = at_most_iov_max(vector->count - vector->next);
    tb_check_message(&message);
    do {
        sent = sendmsg(fd, &message, TB_SEND_FLAGS);
    } while (sent < 0 && errno == EINTR && tries-- > 0);
    sent = checked(sent, room(message.msg_iov, message.msg_iovlen));
    if (sent > 0)
        advance(vector, (size_t)sent);
    return sent;
}

void
tb_point(struct iovec *iovecs, void *bases[], const size_t sizes[],
         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        iovecs[i].iov_base = bases[i];
        iovecs[i].iov_len = sizes[i];
    }
}

ssize_t
tb_receive(int fd, void *memory, size_t size)
{
    ssize_t received;
    int tries = TB_INTERRUPTIONS;

    tb_check_region(memory, size);
    do {
        received = recv(fd, memory, size, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR && tries-- > 0);
    return checked(received, size);
}

ssize_t
tb_receive_vector(int fd, struct iovec *iovecs, size_t count)
{
    struct msghdr message = {0};
    ssize_t received;
    int tries = TB_INTERRUPTIONS;

    message.msg_iov = iovecs;
    message.msg_iovlen = at_most_iov_max(count);
    tb_check_message(&message);
    do {
        received = recvmsg(fd, &message, MSG_DONTWAIT);
    } while (received < 0 && errno == EINTR && tries-- > 0);
    return checked(received, room(iovecs, message.msg_iovlen));
}
