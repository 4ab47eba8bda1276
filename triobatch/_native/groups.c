#include "core.h"

#include <errno.h>
#include <string.h>

/* Pieces that average fewer bytes than this are copied into one, because that
 * costs less than an iovec for each (gather.py, COPY_BELOW).
 */
#define TB_COPY_BELOW 8192

ssize_t
tb_receive_group(const int fds[], size_t count, char *memory,
                 size_t memory_size, size_t receive_size, ssize_t results[])
{
    size_t used = 0;

    if (receive_size == 0 || count > memory_size / receive_size)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        results[i] = tb_receive(fds[i], memory + used, receive_size);
        if (results[i] > 0)
            used += (size_t)results[i];
    }
    return (ssize_t)used;
}

static void
copy_pieces(const struct iovec *pieces, size_t count, char *scratch)
{
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].iov_len == 0)
            continue;
        memcpy(scratch, pieces[i].iov_base, pieces[i].iov_len);
        scratch += pieces[i].iov_len;
    }
}

static size_t
size_of(const struct iovec *pieces, size_t count)
{
    size_t size = 0;

    for (size_t i = 0; i < count; i++)
        size += pieces[i].iov_len;
    return size;
}

static ssize_t
send_message(int fd, struct iovec *pieces, size_t count, size_t size,
             char *scratch, size_t scratch_size)
{
    if (size == 0)
        return 0;
    if (count == 1)
        return tb_send(fd, pieces[0].iov_base, size);
    if (size <= scratch_size && size / TB_COPY_BELOW < count) {
        copy_pieces(pieces, count, scratch);
        return tb_send(fd, scratch, size);
    }

    struct tb_vector vector = {pieces, count, 0};

    return tb_send_vector(fd, &vector);
}

ssize_t
tb_send_group(const int fds[], const uint32_t piece_counts[], size_t count,
              struct iovec *pieces, size_t piece_count, char *scratch,
              size_t scratch_size, ssize_t results[])
{
    size_t next = 0, whole = 0;

    for (size_t i = 0; i < count; i++) {
        if (piece_counts[i] > piece_count - next)
            return -EINVAL;
        next += piece_counts[i];
    }
    next = 0;
    for (size_t i = 0; i < count; i++) {
        size_t size = size_of(pieces + next, piece_counts[i]);

        results[i] = send_message(fds[i], pieces + next, piece_counts[i],
                                  size, scratch, scratch_size);
        whole += results[i] >= 0 && (size_t)results[i] == size;
        next += piece_counts[i];
    }
    return (ssize_t)whole;
}
