/* The fake kernel's calls that move bytes which nobody sees. */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>

enum { PIPE_IN = FD_COUNT - 2, PIPE_OUT = FD_COUNT - 1 };

int
fake_fcntl(int fd, int command, ...)
{
    va_list list;
    int flags;

    CHECK(fd >= 0 && fd < FD_COUNT);
    if (draw_byte() % 32 == 31)
        return (int)kernel_fail(EBADF);
    if (command == F_GETFL)
        return O_RDWR | (kernel.is_non_blocking[fd] ? O_NONBLOCK : 0);
    CHECK(command == F_SETFL);
    va_start(list, command);
    flags = va_arg(list, int);
    va_end(list);
    CHECK(flags == (O_RDWR | O_NONBLOCK));
    kernel.is_non_blocking[fd] = 1;
    return 0;
}

/* A broken socket's signal, as these two calls have no MSG_NOSIGNAL; some of
 * those that are cut short broke in the middle.
 */
static long
answer(size_t offered)
{
    const long moved = kernel_answer(offered, 0);

    if (moved < 0 && kernel.error == EPIPE) {
        CHECK(pthread_kill(pthread_self(), SIGPIPE) == 0);
        errno = EPIPE;
    } else if (moved > 0 && (size_t)moved < offered && moved % 2) {
        CHECK(pthread_kill(pthread_self(), SIGPIPE) == 0);
    }
    return moved;
}

ssize_t
fake_splice(int from, off64_t *from_offset, int to, off64_t *to_offset,
            size_t size, unsigned int flags)
{
    long moved;

    CHECK(from_offset == NULL && to_offset == NULL && size > 0);
    CHECK(flags == (SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
    /* Somebody else may have set it back by the next call. */
    CHECK(kernel.is_non_blocking[to == PIPE_IN ? from : to]);
    kernel.is_non_blocking[to == PIPE_IN ? from : to] = draw_byte() & 1;
    if (to == PIPE_IN) {
        moved = kernel_answer(size, 0);
        if (moved > 0 && (size_t)moved <= size)
            kernel.piped += (size_t)moved;
        return moved;
    }
    CHECK(from == PIPE_OUT && size <= kernel.piped - kernel.unpiped);
    moved = answer(size);
    if (moved > 0 && (size_t)moved <= size)
        kernel.unpiped += (size_t)moved;
    return moved;
}

ssize_t
fake_sendfile(int fd, int file, off_t *offset, size_t size)
{
    long sent;

    (void)file;
    CHECK(kernel.is_non_blocking[fd] && offset != NULL);
    sent = answer(size);
    if (sent > 0)
        *offset += sent;
    return sent;
}

ssize_t
fake_preadv2(int file, const struct iovec *iovecs, int count, off_t offset,
             int flags)
{
    long found;

    (void)file;
    CHECK(count == 1 && iovecs[0].iov_len == 1 && flags == RWF_NOWAIT);
    CHECK(offset >= 0);
    found = kernel_answer(1, 0);
    if (found == 1)
        *(char *)iovecs[0].iov_base = 'x';
    return found;
}
