/* The other end of everything that sends datagrams.
 *
 * Receives UDP with GRO on one port of every local address, and listens on
 * the same TCP port of 127.0.0.1. Whoever has sent N datagrams writes N there,
 * eight bytes in network order, and gets back three such numbers: how many
 * datagrams and how many bytes have arrived since the last answer, and how
 * many of the datagrams were wrong. The answer comes when there are N, or when
 * nothing has come for QUIET milliseconds.
 *
 * While anything comes, and AWAKE seconds longer, this does not sleep: a sender
 * would have to wake it, at a price that depends on when it fell asleep.
 *
 * A datagram is right when its first byte is its last, which differs from
 * those of its neighbours: a batch that was cut up elsewhere shows.
 */

#include <poll.h>

#include "udp.h"

#define SLOTS 64
#define SLOT_SIZE 65536
#define QUIET 300
#define AWAKE 0.002
#define MAX_SENDERS 60
/* Nothing shall be lost: a sender may be 100 MB ahead of us. */
#define RECEIVE_BUFFER (512 << 20)

static char slots[SLOTS][SLOT_SIZE];
static char control[SLOTS][64];
static struct mmsghdr messages[SLOTS];
static uint64_t arrived[3]; /* datagrams, bytes, wrong datagrams */

static void
count_message(struct mmsghdr *message)
{
    const char *data = message->msg_hdr.msg_iov->iov_base;
    size_t left = message->msg_len;
    size_t part = segment_size_of(&message->msg_hdr);

    arrived[1] += left;
    if (part == 0)
        part = left;
    while (left > 0) {
        size_t size = left < part ? left : part;

        arrived[0]++;
        arrived[2] += data[0] != data[size - 1];
        data += size;
        left -= size;
    }
}

/* Count what is there; returns whether anything was. */
static int
drain(int fd)
{
    int count, some = 0;

    do {
        for (int i = 0; i < SLOTS; i++)
            messages[i].msg_hdr.msg_controllen = sizeof(control[i]);
        count = recvmmsg(fd, messages, SLOTS, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++)
            count_message(&messages[i]);
        some |= count > 0;
    } while (count == SLOTS);
    return some;
}

/* Tell who asks, and begin anew. */
static void
answer(int asker)
{
    for (int i = 0; i < 3; i++)
        arrived[i] = htobe64(arrived[i]);
    send_whole(asker, arrived, sizeof(arrived));
    memset(arrived, 0, sizeof(arrived));
}

int
main(void)
{
    struct pollfd fds[2 + MAX_SENDERS];
    nfds_t known = 2;
    int udp = -1, listener = -1;
    struct sockaddr_in name = loopback(0);
    uint64_t wanted = 0;
    int asker = -1;

    for (int i = 0; i < SLOTS; i++) {
        static struct iovec iovecs[SLOTS];

        iovecs[i].iov_base = slots[i];
        iovecs[i].iov_len = SLOT_SIZE;
        messages[i].msg_hdr.msg_iov = &iovecs[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_control = control[i];
    }
    /* One number for both; the second may be taken. */
    for (int i = 0; i < 100 && listener < 0; i++) {
        if (udp >= 0)
            close(udp);
        udp = socket(AF_INET, SOCK_DGRAM, 0);
        name.sin_addr.s_addr = htonl(INADDR_ANY);
        name.sin_port = 0;
        bind_to(udp, &name);
        listener = socket(AF_INET, SOCK_STREAM, 0);
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (bind(listener, (struct sockaddr *)&name, sizeof(name)) < 0) {
            close(listener);
            listener = -1;
        }
    }
    if (listener < 0 || listen(listener, 64) < 0)
        die("cannot listen");
    coalesce(udp);
    receive_buffer(udp, RECEIVE_BUFFER);
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);

    fds[0] = (struct pollfd){listener, POLLIN, 0};
    fds[1] = (struct pollfd){udp, POLLIN, 0};
    for (;;) {
        double last = now();
        int ready = 0;

        while (ready == 0 && now() < last + AWAKE) {
            if (drain(udp))
                last = now();
            ready = poll(fds, known, 0);
        }
        ready = poll(fds, known, asker < 0 ? -1 : QUIET);
        if (fds[1].revents)
            drain(udp);
        if (asker >= 0 && (arrived[0] >= wanted || ready == 0)) {
            answer(asker);
            asker = -1;
        }
        if (fds[0].revents && known < 2 + MAX_SENDERS)
            fds[known++] =
                (struct pollfd){accept(listener, NULL, NULL), POLLIN, 0};
        for (nfds_t i = 2; i < known; i++) {
            if (!fds[i].revents)
                continue;
            fds[i].revents = 0;
            if (recv(fds[i].fd, &wanted, sizeof(wanted), MSG_WAITALL)
                == sizeof(wanted)) {
                wanted = be64toh(wanted);
                asker = fds[i].fd;
                /* They may all be here, so that nothing wakes us again. */
                drain(udp);
                if (arrived[0] >= wanted) {
                    answer(asker);
                    asker = -1;
                }
            } else {
                close(fds[i].fd);
                fds[i--] = fds[--known];
            }
        }
    }
}
