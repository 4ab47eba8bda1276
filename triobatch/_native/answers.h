/* What calls for many datagrams are offered at most, and what they answer. */
#ifndef TRIOBATCH_ANSWERS_H
#define TRIOBATCH_ANSWERS_H

#include "core.h"

#include <errno.h>

/* A recvmmsg(2) that a signal interrupts can leave the kernel's own
 * ERESTARTSYS in the socket's pending error, where the next call finds it.
 */
#define TB_ERESTARTSYS 512

static inline size_t
at_most_messages(size_t count)
{
    return count < TB_MESSAGES ? count : TB_MESSAGES;
}

static inline int
interrupted(int error)
{
    return error == EINTR || error == TB_ERESTARTSYS;
}

/* What a call has answered: messages, at most as many as it was offered, or
 * -errno.
 */
static inline ssize_t
checked(long answer, size_t offered)
{
    if (answer < 0)
        return interrupted(errno) ? -EAGAIN : -errno;
    return (size_t)answer > offered ? -EOVERFLOW : answer;
}

#endif
