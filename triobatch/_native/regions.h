/* Whether the memory that the kernel is given is ours to give.
 *
 * A sanitizer sees what compiled code reads and writes, and not what a system
 * call does in its place: a size that is not that of its memory would go
 * unseen, and foreign memory out. So in a build with AddressSanitizer each
 * region is asked about first, and the first byte that is not ours is touched
 * here, where that is a report. In any other build there is nothing here.
 */
#ifndef TRIOBATCH_REGIONS_H
#define TRIOBATCH_REGIONS_H

#include "core.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TB_CHECKS_REGIONS 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TB_CHECKS_REGIONS 1
#endif

#ifdef TB_CHECKS_REGIONS

#include <sanitizer/asan_interface.h>

static inline void
tb_check_region(const void *start, size_t size)
{
    const volatile char *foreign;

    if (size == 0)
        return;
    foreign = __asan_region_is_poisoned((void *)(uintptr_t)start, size);
    if (foreign != NULL)
        (void)*foreign;
}

static inline void
tb_check_message(const struct msghdr *message)
{
    tb_check_region(message->msg_name, message->msg_namelen);
    tb_check_region(message->msg_control, message->msg_controllen);
    for (size_t i = 0; i < message->msg_iovlen; i++)
        tb_check_region(message->msg_iov[i].iov_base,
                        message->msg_iov[i].iov_len);
}

#else

static inline void
tb_check_region(const void *start, size_t size)
{
    (void)start;
    (void)size;
}

static inline void
tb_check_message(const struct msghdr *message)
{
    (void)message;
}

#endif

static inline void
tb_check_messages(const struct mmsghdr messages[], size_t count)
{
    for (size_t i = 0; i < count; i++)
        tb_check_message(&messages[i].msg_hdr);
}

#endif
