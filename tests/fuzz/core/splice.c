/* What the kernel moves: through a pipe, and out of a file; and SIGPIPE. */
#include "kernel.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

enum { SOURCE = 10, TARGET = 11, FILE_FD = 12 };

static int
is_pending(void)
{
    sigset_t pending;

    sigemptyset(&pending);
    CHECK(sigpending(&pending) == 0);
    return sigismember(&pending, SIGPIPE) == 1;
}

static int
is_blocked(void)
{
    sigset_t blocked;

    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &blocked) == 0);
    return sigismember(&blocked, SIGPIPE) == 1;
}

static void
relay(void)
{
    struct tb_relay state = { 0 };

    state.source = SOURCE;
    state.target = TARGET;
    state.pipe_in = FD_COUNT - 2;
    state.pipe_out = FD_COUNT - 1;
    state.pipe_size = 1 + draw_below(70000);
    for (int i = 0; i < 12; i++) {
        const size_t size = draw_below(60000);
        const size_t before = state.sent;
        int result;

        kernel_mark();
        result = tb_relay(&state, size);
        CHECK(state.sent == kernel.unpiped);
        CHECK(state.held == kernel.piped - kernel.unpiped);
        CHECK(state.sent - before <= size + state.pipe_size);
        switch (result) {
        case TB_RELAY_TURN:
            CHECK(state.sent - before >= size);
            break;
        case TB_RELAY_WAIT_SOURCE:
            CHECK(state.held == 0);
            /* fall through */
        case TB_RELAY_WAIT_TARGET:
            CHECK(kernel.error == EAGAIN || kernel.error == EINTR);
            break;
        case TB_RELAY_ENDED:
            CHECK(state.held == 0 && kernel.error == 0);
            return;
        default:
            CHECK(result < 0);
            if (result != -EPIPE)
                check_result(result);
            return;
        }
    }
}

static void
send_file(void)
{
    for (int i = 0; i < 8; i++) {
        kernel_mark();
        check_result(tb_send_file(TARGET, FILE_FD, (int64_t)draw_size(),
                                  draw_below(9000)));
    }
}

static void
look_ahead(void)
{
    const size_t size = draw_byte() * (size_t)5000 + draw_byte();
    ssize_t result;

    kernel_mark();
    result = tb_cached(FILE_FD, (int64_t)draw_below(9000), size);
    if (result >= 0) {
        CHECK((size_t)result <= size);
        CHECK((size_t)result == size || result % TB_CACHED_STEP == 0);
    } else {
        check_result(result);
    }
}

/* A SIGPIPE that was held off by somebody else, and pending, stays; any other
 * is gone when the call returns. Were one let in, the run would end by it.
 */
void
fuzz_splice(void)
{
    const uint8_t kind = draw_byte();
    const struct timespec at_once = { 0, 0 };
    sigset_t sigpipe, before;

    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    /* As it is in Python. */
    CHECK(signal(SIGPIPE, (kind & 80) == 64 ? SIG_IGN : SIG_DFL) != SIG_ERR);
    if (kind & 16)
        pthread_sigmask(SIG_BLOCK, &sigpipe, NULL);
    if ((kind & 48) == 48)
        CHECK(pthread_kill(pthread_self(), SIGPIPE) == 0);
    if (kind % 3 == 0)
        relay();
    else if (kind % 3 == 1)
        send_file();
    else
        look_ahead();
    CHECK(is_blocked() == !!(kind & 16));
    CHECK(is_pending() == ((kind & 48) == 48));
    if ((kind & 48) == 48)
        CHECK(sigtimedwait(&sigpipe, NULL, &at_once) == SIGPIPE);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
}
