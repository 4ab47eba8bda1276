/* The C core: system calls on descriptors, pointers and sizes.
 *
 * Every function makes the calls that its comment names and returns a count,
 * or -errno. None waits, allocates, keeps state or knows Python, so the core
 * can be compiled with -fanalyzer, run under a sanitizer and called from C.
 *
 * This file is the only place where a prototype is written. cffi reads it too,
 * without the lines that start with '#' (build_hook.py): keep it to plain
 * declarations.
 */
#ifndef TRIOBATCH_CORE_H
#define TRIOBATCH_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* stream.c: gathered send and scattered receive on stream sockets. */

/* What is left of a gathered send: iovecs[next] to iovecs[count - 1]. */
struct tb_vector {
    struct iovec *iovecs;
    size_t count;
    size_t next;
};

/* Send `size` bytes with one send(2). Returns the bytes taken. */
ssize_t tb_send(int fd, const void *data, size_t size);

/* Send the front of `vector`, at most IOV_MAX iovecs, with one sendmsg(2).
 *
 * Moves `next`, and the iovec it stops in, past the bytes that were taken, so
 * that the next call goes on from there. Returns the bytes taken.
 */
ssize_t tb_send_vector(int fd, struct tb_vector *vector);

/* Write bases[i] and sizes[i] into iovecs[i] for every i below `count`. */
void tb_point(struct iovec *iovecs, void *bases[], const size_t sizes[],
              size_t count);

/* Fill at most IOV_MAX iovecs, in order, with one recvmsg(2).
 *
 * Returns the bytes received, 0 at the end of the stream.
 */
ssize_t tb_receive_vector(int fd, struct iovec *iovecs, size_t count);

/* broadcast.c: one payload to many stream sockets. */

/* Send `size` bytes to every descriptor, with one send(2) each.
 *
 * results[i] becomes the bytes that fds[i] took, or -errno.
 */
void tb_broadcast(const int fds[], ssize_t results[], size_t count,
                  const void *data, size_t size);

#endif
