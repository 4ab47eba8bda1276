/* The C core: system calls on descriptors, pointers and sizes.
 *
 * A function that returns something returns a count, or -errno. It makes the
 * calls that its comment names and no others. None waits, allocates, keeps
 * state or knows Python, so the core can be compiled with -fanalyzer, run
 * under a sanitizer and called from C.
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

/* How often a call that a signal interrupted is made again. Then it is
 * -EAGAIN: whoever asks waits, and other tasks run, where signals do not end.
 */
enum { TB_INTERRUPTIONS = 16 };

/* A call that says it took, or brought, more than it was offered is
 * -EOVERFLOW, which none of them answers by itself.
 */

/* stream.c: gathered send and scattered receive on stream sockets. */

/* At most this many iovecs a call: UIO_MAXIOV in the kernel. With more of them
 * sendmsg(2) fails with EMSGSIZE.
 */
enum { TB_IOV_MAX = 1024 };

/* What is left of a gathered send: iovecs[next] to iovecs[count - 1]. */
struct tb_vector {
    struct iovec *iovecs;
    size_t count;
    size_t next;
};

/* Send `size` bytes with one send(2). Returns the bytes taken. */
ssize_t tb_send(int fd, const void *data, size_t size);

/* Send the front of `vector`, at most TB_IOV_MAX iovecs, with one sendmsg(2).
 *
 * Moves `next`, and the iovec it stops in, past the bytes that were taken, so
 * that the next call goes on from there. Returns the bytes taken.
 */
ssize_t tb_send_vector(int fd, struct tb_vector *vector);

/* Write bases[i] and sizes[i] into iovecs[i] for every i below `count`. */
void tb_point(struct iovec *iovecs, void *bases[], const size_t sizes[],
              size_t count);

/* Receive at most `size` bytes with one recv(2).
 *
 * Returns the bytes received, 0 at the end of the stream.
 */
ssize_t tb_receive(int fd, void *memory, size_t size);

/* Fill at most TB_IOV_MAX iovecs, in order, with one recvmsg(2).
 *
 * Returns the bytes received, 0 at the end of the stream.
 */
ssize_t tb_receive_vector(int fd, struct iovec *iovecs, size_t count);

/* splice.c: bytes that the kernel moves, and nobody sees. */

/* What tb_relay returns, other than -errno. */
enum {
    /* `size` bytes were moved, and there may be more. */
    TB_RELAY_TURN = 0,
    /* Nothing has come; wait until `source` is readable. */
    TB_RELAY_WAIT_SOURCE = 1,
    /* Wait until `target` is writable, with what the pipe holds. */
    TB_RELAY_WAIT_TARGET = 2,
    /* `source` has ended, and all of it was moved. */
    TB_RELAY_ENDED = 3
};

/* One direction of a relay. The descriptors are set before each call. */
struct tb_relay {
    int source;
    int target;
    /* A pipe's two ends, and how much is asked for at a time. */
    int pipe_in;
    int pipe_out;
    size_t pipe_size;
    /* What the pipe holds, the bytes sent so far, and in how many calls. */
    size_t held;
    size_t sent;
    size_t receives;
    size_t sends;
};

/* Move bytes from one stream socket to another through a pipe, with
 * splice(2), until `size` bytes and no more than the pipe's were sent, or
 * something has to be waited for. SIGPIPE is held off, and each socket made
 * non-blocking (fcntl(2)) before each call: SPLICE_F_NONBLOCK is about the
 * pipe (splice(2)).
 */
int tb_relay(struct tb_relay *state, size_t size);

/* Send `size` bytes of a file from `offset` on with one sendfile(2), with
 * SIGPIPE held off, and the socket made non-blocking (fcntl(2)). The file's
 * own position is neither used nor moved.
 *
 * Returns the bytes taken, 0 at the end of the file.
 */
ssize_t tb_send_file(int fd, int file, int64_t offset, size_t size);

/* Send `size` bytes with one send(2), of which more will follow (MSG_MORE,
 * tcp(7)). Returns the bytes taken.
 */
ssize_t tb_send_more(int fd, const void *data, size_t size);

/* How far apart tb_cached looks: what Linux reads ahead (128 KiB) has two. */
enum { TB_CACHED_STEP = 65536 };

/* Look whether `size` bytes of a file from `offset` on are in memory, with a
 * preadv2(2) of one byte, RWF_NOWAIT, for each TB_CACHED_STEP bytes.
 *
 * Returns how many bytes can be read without waiting for a disk, or -errno
 * (-EOPNOTSUPP if that file system cannot tell).
 */
ssize_t tb_cached(int file, int64_t offset, size_t size);

/* datagrams.c, receive_datagrams.c: many datagrams in one system call.
 *
 * A message is what one entry of sendmmsg(2) or recvmmsg(2) holds: a
 * datagram, or a run of them that the kernel cuts up or has put together.
 */

/* At most this many messages a call. The curve is flat from 16 on, and the
 * headers are on the stack: 17 KiB.
 */
enum { TB_MESSAGES = 64 };

/* linux/udp.h has the last two, but not in every C library's edition. */
enum { TB_SOL_UDP = 17, TB_UDP_SEGMENT = 103, TB_UDP_GRO = 104 };

/* Bytes of control messages that a caller may add to each message: room for
 * a packet information (40), and a traffic class (24) and a hop limit (24)
 * for each of IPv4 and IPv6, of which the kernel takes the one that applies.
 */
enum { TB_CONTROL_SIZE = 160 };

/* Send up to TB_MESSAGES messages with one sendmmsg(2).
 *
 * Message i is sizes[i] bytes of `payload`, starting where message i - 1
 * ended. Where segment_sizes[i] is not 0 the kernel cuts it into datagrams of
 * that many bytes, the last of which may be shorter (UDP_SEGMENT, udp(7)).
 *
 * `names` holds name_count sockaddrs, one behind the other, of name_sizes[i]
 * bytes: none for a connected socket, one for all messages, or one for each;
 * there a size of 0 is the connected peer. `controls` holds the control
 * messages to go with them in the same way, at most TB_CONTROL_SIZE bytes for
 * a message.
 *
 * Makes no call, and returns -EINVAL, where a message, a name or its control
 * messages would lie past the payload_size bytes of `payload`, the names_size
 * bytes of `names` or the controls_size bytes of `controls`, or where there
 * are several names, or controls, and fewer than messages.
 *
 * Returns how many messages the kernel took, or -errno if it refused the
 * first. What stopped it at a later one is lost; the next call, starting with
 * that message, may meet it again (sendmmsg(2), BUGS).
 */
ssize_t tb_send_datagrams(int fd, const char *payload, size_t payload_size,
                          const uint32_t sizes[],
                          const uint16_t segment_sizes[], size_t count,
                          const char *names, size_t names_size,
                          const uint32_t name_sizes[], size_t name_count,
                          const char *controls, size_t controls_size,
                          const uint32_t control_sizes[],
                          size_t control_count);

/* What has become of messages that are sent past those that are refused. */
struct tb_outcomes {
    /* What stopped the message behind the last one with an outcome, or 0. */
    int stopped;
    /* System calls, and failures among them that did not come again. */
    uint32_t calls;
    uint32_t passed;
    /* The errno of each message that was refused, 0 of one that was taken. */
    unsigned char errors[TB_MESSAGES];
};

/* Errnos that may refuse a message; a larger one stops the call. */
enum { TB_ERRORS = 256 };

/* As tb_send_datagrams, but on past the refused. tries[e] is how often running
 * errno `e` must meet a message that is not cut up, once or twice, to refuse
 * it: 0 where it is to stop the call. The message behind a refusal has a
 * sendmmsg(2) for itself, and any other call takes all that is left: so where
 * all are refused, or every second, each costs one call, and a few among many
 * cost three each.
 *
 * Returns how many messages have an outcome, or -EINVAL as above.
 */
ssize_t tb_send_past(int fd, const char *payload, size_t payload_size,
                     const uint32_t sizes[], const uint16_t segment_sizes[],
                     size_t count, const char *names, size_t names_size,
                     const uint32_t name_sizes[], size_t name_count,
                     const char *controls, size_t controls_size,
                     const uint32_t control_sizes[], size_t control_count,
                     const unsigned char tries[],
                     struct tb_outcomes *outcomes);

/* As tb_send_datagrams, but message i is the sizes[i] bytes at runs[i], and
 * all go to `name`, or to the connected peer if name_size is 0.
 */
ssize_t tb_send_runs(int fd, const char *const runs[], const uint32_t sizes[],
                     const uint16_t segment_sizes[], size_t count,
                     const char *name, size_t name_size, const char *control,
                     size_t control_size);

/* Send the front of payload_size bytes as datagrams of segment_size bytes, the
 * last of which may be shorter, with one sendmmsg(2) of up to TB_MESSAGES
 * messages of run_size bytes. run_size is segment_size, or a multiple of it
 * that the kernel cuts up. All go to `name`, or to the connected peer if
 * name_size is 0, with `control`.
 *
 * Returns the bytes taken, whole datagrams, or -errno as above.
 */
ssize_t tb_send_segments(int fd, const char *payload, size_t payload_size,
                         uint16_t segment_size, size_t run_size,
                         const char *name, size_t name_size,
                         const char *control, size_t control_size);

/* Room for a sockaddr: of ip(7), ipv6(7) or unix(7). */
enum { TB_NAME_SIZE = 128 };

/* Datagrams of one size to one address, in memory that is used again and
 * again: `count` of them, `size` bytes in all. The rest is as in
 * tb_send_segments; `runs` messages are to be cut up.
 */
struct tb_batch {
    char *memory;
    size_t room;
    size_t size;
    size_t run_size;
    uint32_t count;
    uint32_t runs;
    uint16_t segment_size;
    uint16_t name_size;
    char name[TB_NAME_SIZE];
};

/* Send the front of a batch with one sendmmsg(2).
 *
 * Returns how many datagrams were taken, or -errno as above.
 */
ssize_t tb_send_batch(int fd, const struct tb_batch *batch);

/* Send one plain datagram with one sendto(2), or to the connected peer if
 * name_size is 0. Returns the bytes taken, or -errno.
 */
ssize_t tb_send_datagram(int fd, const void *data, size_t size,
                         const char *name, size_t name_size);

/* What a call has brought into an arena, and how far it was handed out. */
struct tb_filling {
    /* Slots that were filled, and the datagrams in them. */
    uint32_t messages;
    uint32_t datagrams;
    /* The next slot to be handed out, and the bytes of it that are. */
    uint32_t next;
    uint32_t offset;
};

/* Where received messages go: message i to slot i, slot_size bytes each. */
struct tb_arena {
    char *memory;
    size_t slots;
    size_t slot_size;
    /* One sockaddr a slot. */
    char *names;
    size_t name_size;
    /* Control messages, or none where control_size is 0: aligned, and of a
     * size that keeps the next slot's aligned, as struct cmsghdr is.
     */
    char *control;
    size_t control_size;
    /* One item a slot: what the kernel says of the message. A size larger
     * than slot_size is that of a truncated datagram before it was cut.
     */
    uint32_t *sizes;
    uint32_t *flags;
    uint32_t *name_sizes;
    uint32_t *control_sizes;
    /* The datagrams that make up the message have this size, the last may be
     * shorter; 0 if it is one datagram (UDP_GRO, udp(7)).
     */
    uint32_t *segment_sizes;
    struct tb_filling *filling;
};

/* Fill slots 0 to count - 1, at most TB_MESSAGES and as many as there are,
 * with one recvmmsg(2), or one recvmsg(2) if `count` is 1. Begins `filling`
 * anew, if something was received.
 *
 * Returns the number of messages received, at least 1, or -errno.
 */
ssize_t tb_receive_datagrams(int fd, const struct tb_arena *arena,
                             size_t count);

/* broadcast.c: one payload to many stream sockets. */

/* Send `size` bytes to every descriptor, with one send(2) each.
 *
 * results[i] becomes the bytes that fds[i] took, or -errno.
 */
void tb_broadcast(const int fds[], ssize_t results[], size_t count,
                  const void *data, size_t size);

/* groups.c: many stream sockets, with something of its own for each. */

/* Receive from every descriptor, with one recv(2) of at most `receive_size`
 * bytes each. What came lies in `memory` one behind the other, with no gaps.
 *
 * results[i] becomes the bytes that fds[i] gave, 0 at the end of the stream,
 * or -errno. Returns the bytes received from all of them, or -EINVAL if
 * `memory_size` has no room for so many.
 */
ssize_t tb_receive_group(const int fds[], size_t count, char *memory,
                         size_t memory_size, size_t receive_size,
                         ssize_t results[]);

/* Send a message to every descriptor, in order, with one system call each.
 *
 * The message for fds[i] is the next piece_counts[i] of `pieces`: sent where
 * it lies with send(2) or sendmsg(2), or, if the pieces are small, copied to
 * `scratch` first. For one of no bytes there is no call. Spoils `pieces`.
 *
 * results[i] becomes the bytes that fds[i] took, or -errno. Returns how many
 * took all of their message, or -EINVAL, with nothing sent, if there are
 * fewer pieces.
 */
ssize_t tb_send_group(const int fds[], const uint32_t piece_counts[],
                      size_t count, struct iovec *pieces, size_t piece_count,
                      char *scratch, size_t scratch_size, ssize_t results[]);

#endif
