#include "core.h"
#include "regions.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <time.h>

/* Places in large files, on 32 bits too (-D_FILE_OFFSET_BITS=64). */
_Static_assert(sizeof(off_t) == sizeof(int64_t), "off_t is too small");

/* splice(2) and sendfile(2) have no MSG_NOSIGNAL. So SIGPIPE is held off,
 * unless it is ignored, as in Python, and the one that the call has made is
 * taken. It is this thread's own (sk_stream_error() in net/core/stream.c).
 * One that was pending before stays. It is asked for whatever the call has
 * answered: these two send by pages, so one whose peer goes in the middle says
 * what was taken before, and leaves a signal all the same.
 */
struct held_off {
    sigset_t before;
    int is_held;
    int pending;
};

static void
only_sigpipe(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

static void
hold_off_sigpipe(struct held_off *held)
{
    struct sigaction action;
    sigset_t sigpipe, pending;

    held->is_held = 0;
    if (sigaction(SIGPIPE, NULL, &action) == 0 &&
        action.sa_handler == SIG_IGN)
        return;
    only_sigpipe(&sigpipe);
    sigemptyset(&pending);
    sigpending(&pending);
    held->pending = sigismember(&pending, SIGPIPE) == 1;
    held->is_held = !pthread_sigmask(SIG_BLOCK, &sigpipe, &held->before);
}

static void
let_sigpipe_in(const struct held_off *held)
{
    if (!held->is_held)
        return;
    if (!held->pending) {
        const struct timespec at_once = {0, 0};
        sigset_t sigpipe;

        only_sigpipe(&sigpipe);
        while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &held->before, NULL);
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

/* Nor have they MSG_DONTWAIT. The mode of a socket belongs to all who share
 * it, and any of them may have changed it (fcntl(2), F_SETFL): before a call
 * that a signal interrupted, too, as that is one which has waited.
 */
static int
make_non_blocking(int fd)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0)
        return 0;
    return -errno;
}

/* One of the two is `socket`, and the other a pipe. */
static ssize_t
move(int from, int to, int socket, size_t size)
{
    ssize_t moved;
    int tries = TB_INTERRUPTIONS;

    do {
        const int error = make_non_blocking(socket);

        if (error)
            return error;
        moved = splice(from, NULL, to, NULL, size,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (moved < 0 && errno == EINTR && tries-- > 0);
    return checked(moved, size);
}

static int
relay(struct tb_relay *state, size_t size)
{
    const size_t before = state->sent;

    while (state->sent - before < size) {
        ssize_t moved;

        if (!state->held) {
            moved = move(state->source, state->pipe_in, state->source,
                         state->pipe_size);
            if (moved == -EAGAIN)
                return TB_RELAY_WAIT_SOURCE;
            if (moved <= 0)
                return moved ? (int)moved : TB_RELAY_ENDED;
            state->held = (size_t)moved;
            state->receives++;
        }
        moved = move(state->pipe_out, state->target, state->target,
                     state->held);
        if (moved == -EAGAIN)
            return TB_RELAY_WAIT_TARGET;
        if (moved <= 0)
            return moved ? (int)moved : -EPIPE;
        state->held -= (size_t)moved;
        state->sent += (size_t)moved;
        state->sends++;
    }
    return TB_RELAY_TURN;
}

int
tb_relay(struct tb_relay *state, size_t size)
{
    struct held_off held;
    int answer;

    hold_off_sigpipe(&held);
    answer = relay(state, size);
    let_sigpipe_in(&held);
    return answer;
}

ssize_t
tb_send_file(int fd, int file, int64_t offset, size_t size)
{
    struct held_off held;
    off_t position = (off_t)offset;
    ssize_t sent;
    int tries = TB_INTERRUPTIONS;

    hold_off_sigpipe(&held);
    do {
        sent = make_non_blocking(fd);
        if (sent == 0)
            sent = sendfile(fd, file, &position, size);
    } while (sent < 0 && errno == EINTR && tries-- > 0);
    sent = checked(sent, size);
    let_sigpipe_in(&held);
    return sent;
}

ssize_t
tb_send_more(int fd, const void *data, size_t size)
{
    ssize_t sent;
    int tries = TB_INTERRUPTIONS;

    tb_check_region(data, size);
    do {
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
    } while (sent < 0 && errno == EINTR && tries-- > 0);
    return checked(sent, size);
}

#ifdef RWF_NOWAIT

ssize_t
tb_cached(int file, int64_t offset, size_t size)
{
    size_t cached = 0;

    while (cached < size) {
        char byte;
        struct iovec iovec = {&byte, 1};
        const off_t place = (off_t)(offset + (int64_t)cached);
        ssize_t found;
        int tries = TB_INTERRUPTIONS;

        tb_check_region(&byte, sizeof(byte));
        do {
            found = preadv2(file, &iovec, 1, place, RWF_NOWAIT);
        } while (found < 0 && errno == EINTR && tries-- > 0);
        found = checked(found, sizeof(byte));
        if (found == -EAGAIN)
            return (ssize_t)cached;
        if (found < 0)
            return found;
        cached += TB_CACHED_STEP;
    }
    return (ssize_t)size;
}

#else

/* musl before 1.2.5 has no preadv2. */
ssize_t
tb_cached(int file, int64_t offset, size_t size)
{
    (void)file;
    (void)offset;
    (void)size;
    return -EOPNOTSUPP;
}

#endif
