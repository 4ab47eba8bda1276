#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <time.h>

/* splice(2) and sendfile(2) have no MSG_NOSIGNAL. So SIGPIPE is held off,
 * unless it is ignored, as in Python, and the one that the call has made is
 * taken. It is this thread's own (sk_stream_error() in net/core/stream.c).
 * One that was pending before stays.
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
let_sigpipe_in(const struct held_off *held, int broken)
{
    if (!held->is_held)
        return;
    if (broken && !held->pending) {
        const struct timespec at_once = {0, 0};
        sigset_t sigpipe;

        only_sigpipe(&sigpipe);
        while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    }
    pthread_sigmask(SIG_SETMASK, &held->before, NULL);
}

static ssize_t
move(int from, int to, size_t size, unsigned int flags)
{
    ssize_t moved;

    do {
        moved = splice(from, NULL, to, NULL, size,
                       SPLICE_F_MOVE | SPLICE_F_NONBLOCK | flags);
    } while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

static int
relay(struct tb_relay *state, size_t size)
{
    const size_t before = state->sent;

    while (state->sent - before < size) {
        ssize_t moved;

        if (!state->held) {
            moved = move(state->source, state->pipe_in, state->pipe_size, 0);
            if (moved == -EAGAIN)
                return TB_RELAY_WAIT_SOURCE;
            if (moved <= 0)
                return moved ? (int)moved : TB_RELAY_ENDED;
            state->held = (size_t)moved;
            state->receives++;
        }
        moved = move(state->pipe_out, state->target, state->held, 0);
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
    let_sigpipe_in(&held, answer == -EPIPE);
    return answer;
}

ssize_t
tb_send_file(int fd, int file, int64_t offset, size_t size)
{
    struct held_off held;
    off_t position = (off_t)offset;
    ssize_t sent;

    hold_off_sigpipe(&held);
    do {
        sent = sendfile(fd, file, &position, size);
    } while (sent < 0 && errno == EINTR);
    sent = sent < 0 ? -errno : sent;
    let_sigpipe_in(&held, sent == -EPIPE);
    return sent;
}

ssize_t
tb_send_more(int fd, const void *data, size_t size)
{
    ssize_t sent;

    do {
        sent = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : sent;
}

ssize_t
tb_cached(int file, int64_t offset, size_t size)
{
    size_t cached = 0;

    while (cached < size) {
        char byte;
        struct iovec iovec = {&byte, 1};
        const off_t place = (off_t)(offset + (int64_t)cached);
        ssize_t found;

        do {
            found = preadv2(file, &iovec, 1, place, RWF_NOWAIT);
        } while (found < 0 && errno == EINTR);
        if (found < 0 && errno == EAGAIN)
            return (ssize_t)cached;
        if (found < 0)
            return -errno;
        cached += TB_CACHED_STEP;
    }
    return (ssize_t)size;
}
