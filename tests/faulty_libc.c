/* System calls on one descriptor that do not do what they are to: preloaded
 * (LD_PRELOAD, ld.so(8)) before the C library, it serves both cores.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, MORE, INTERRUPTED, AGAIN, BROKEN };

static int faulty = -1;
static int fault;
long fault_count;

void
set_fault(int fd, int kind)
{
    faulty = fd;
    fault = kind;
    fault_count = 0;
}

static int
is_faulty(int fd)
{
    if (fd != faulty || fault == NOTHING || fault == BROKEN)
        return 0;
    fault_count++;
    return 1;
}

/* What a call that went well answers, or another that was not made. */
static long
answer(long offered)
{
    if (fault == MORE)
        return offered + 5;
    errno = fault == AGAIN ? EAGAIN : EINTR;
    return -1;
}

static long
size_of(const struct iovec *iovecs, size_t count)
{
    long size = 0;

    for (size_t i = 0; i < count; i++)
        size += (long)iovecs[i].iov_len;
    return size;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t
send(int fd, const void *data, size_t size, int flags)
{
    if (is_faulty(fd))
        return answer((long)size);
    return REAL(send)(fd, data, size, flags);
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (is_faulty(fd))
        return answer(size_of(message->msg_iov, message->msg_iovlen));
    return REAL(sendmsg)(fd, message, flags);
}

ssize_t
write(int fd, const void *data, size_t size)
{
    if (is_faulty(fd))
        return answer((long)size);
    return REAL(write)(fd, data, size);
}

ssize_t
writev(int fd, const struct iovec *iovecs, int count)
{
    if (is_faulty(fd))
        return answer(size_of(iovecs, (size_t)count));
    return REAL(writev)(fd, iovecs, count);
}

ssize_t
recv(int fd, void *data, size_t size, int flags)
{
    if (is_faulty(fd))
        return answer((long)size);
    return REAL(recv)(fd, data, size, flags);
}

ssize_t
recvmsg(int fd, struct msghdr *message, int flags)
{
    if (is_faulty(fd))
        return answer(size_of(message->msg_iov, message->msg_iovlen));
    return REAL(recvmsg)(fd, message, flags);
}

int
recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
         struct timespec *timeout)
{
    if (is_faulty(fd))
        return (int)answer(count);
    return REAL(recvmmsg)(fd, messages, count, flags, timeout);
}

/* A peer that goes in the middle: the half that was taken, and a signal. */
static size_t
halved(int fd, size_t size)
{
    if (fd != faulty || fault != BROKEN || size < 2)
        return size;
    fault_count++;
    pthread_kill(pthread_self(), SIGPIPE);
    return size / 2;
}

ssize_t
sendfile(int fd, int file, off_t *offset, size_t size)
{
    return REAL(sendfile)(fd, file, offset, halved(fd, size));
}

ssize_t
sendfile64(int fd, int file, off64_t *offset, size_t size)
{
    return REAL(sendfile64)(fd, file, offset, halved(fd, size));
}

ssize_t
splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t size,
       unsigned int flags)
{
    return REAL(splice)(from, from_offset, to, to_offset, halved(to, size),
                        flags);
}

long
syscall(long number, ...)
{
    long arguments[6];
    va_list list;

    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_sendmmsg && is_faulty((int)arguments[0]))
        return answer(arguments[2]);
    return REAL(syscall)(number, arguments[0], arguments[1], arguments[2],
                         arguments[3], arguments[4], arguments[5]);
}
