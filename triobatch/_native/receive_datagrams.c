#include "answers.h"
#include "regions.h"

#include <errno.h>
#include <string.h>

static uint32_t
segment_size_of(struct msghdr *header)
{
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item != NULL;
         item = CMSG_NXTHDR(header, item)) {
        if (item->cmsg_level == TB_SOL_UDP && item->cmsg_type == TB_UDP_GRO
            && item->cmsg_len >= CMSG_LEN(sizeof(int))) {
            int segment_size;

            memcpy(&segment_size, CMSG_DATA(item), sizeof(segment_size));
            return segment_size > 0 ? (uint32_t)segment_size : 0;
        }
    }
    return 0;
}

/* An empty datagram is one, too. */
static uint32_t
datagrams_in(uint32_t size, uint32_t segment_size)
{
    if (size == 0 || segment_size == 0)
        return 1;
    return (size - 1) / segment_size + 1;
}

static int
receive(int fd, struct mmsghdr messages[], size_t count)
{
    /* With MSG_TRUNC the length is the datagram's own, however much fits. */
    int flags = MSG_DONTWAIT | MSG_TRUNC;
    ssize_t size;

    if (count > 1)
        return recvmmsg(fd, messages, (unsigned int)count, flags, NULL);
    size = recvmsg(fd, &messages[0].msg_hdr, flags);
    if (size < 0)
        return -1;
    messages[0].msg_len = (unsigned int)size;
    return 1;
}

ssize_t
tb_receive_datagrams(int fd, const struct tb_arena *arena, size_t count)
{
    struct mmsghdr messages[TB_MESSAGES];
    struct iovec iovecs[TB_MESSAGES];
    struct tb_filling filling = { 0 };
    ssize_t received;
    int tries = TB_INTERRUPTIONS;

    count = at_most_messages(count < arena->slots ? count : arena->slots);
    if (count == 0)
        return -EINVAL;
    memset(messages, 0, count * sizeof(messages[0]));
    for (size_t i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].msg_hdr;

        iovecs[i].iov_base = arena->memory + i * arena->slot_size;
        iovecs[i].iov_len = arena->slot_size;
        header->msg_iov = &iovecs[i];
        header->msg_iovlen = 1;
        header->msg_name = arena->names + i * arena->name_size;
        header->msg_namelen = (socklen_t)arena->name_size;
        if (arena->control_size > 0) {
            header->msg_control = arena->control + i * arena->control_size;
            header->msg_controllen = arena->control_size;
        }
    }
    tb_check_messages(messages, count);
    do {
        received = receive(fd, messages, count);
    } while (received < 0 && interrupted(errno) && tries-- > 0);
    received = checked(received, count);
    if (received < 0)
        return received;
    for (size_t i = 0; i < (size_t)received; i++) {
        struct msghdr *header = &messages[i].msg_hdr;

        arena->sizes[i] = messages[i].msg_len;
        arena->flags[i] = (uint32_t)header->msg_flags;
        arena->name_sizes[i] = header->msg_namelen;
        arena->control_sizes[i] = (uint32_t)header->msg_controllen;
        arena->segment_sizes[i] = segment_size_of(header);
        filling.datagrams
            += datagrams_in(arena->sizes[i], arena->segment_sizes[i]);
    }
    filling.messages = (uint32_t)received;
    *arena->filling = filling;
    return received;
}
