/* The other end of everything that receives datagrams.
 *
 * Listens on a TCP port. Who connects writes three numbers of eight bytes in
 * network order, a UDP port of 127.0.0.1, a count and a size, gets so many
 * datagrams sent in messages that the kernel cuts up (UDP_SEGMENT), and then
 * one byte here.
 */
#include <poll.h>

#include "udp.h"

#define MAX_RECEIVERS 60
#define LARGEST 65507
#define MAX_SEGMENTS 64

static char payload[LARGEST];

static void
send_datagrams(int fd, int port, uint64_t count, uint64_t size)
{
    struct sockaddr_in target = loopback(port);
    uint64_t most = LARGEST / size;

    if (most > MAX_SEGMENTS)
        most = MAX_SEGMENTS;
    while (count > 0) {
        char control[SEGMENT_CONTROL_SIZE] = {0};
        uint64_t run = count < most ? count : most;
        struct iovec iovec = {payload, run * size};
        struct msghdr header = {0};

        header.msg_name = &target;
        header.msg_namelen = sizeof(target);
        header.msg_iov = &iovec;
        header.msg_iovlen = 1;
        if (run > 1)
            segment(&header, control, (uint16_t)size);
        if (sendmsg(fd, &header, 0) < 0)
            die("cannot send");
        count -= run;
    }
}

int
main(void)
{
    struct pollfd fds[1 + MAX_RECEIVERS];
    nfds_t known = 1;
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = loopback(0);

    bind_to(listener, &name);
    if (listen(listener, 64) < 0)
        die("cannot listen");
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    fds[0] = (struct pollfd){listener, POLLIN, 0};
    while (poll(fds, known, -1) > 0) {
        if (fds[0].revents && known < 1 + MAX_RECEIVERS)
            fds[known++] =
                (struct pollfd){accept(listener, NULL, NULL), POLLIN, 0};
        for (nfds_t i = 1; i < known; i++) {
            uint64_t order[3]; /* port, count, size */

            if (!fds[i].revents)
                continue;
            fds[i].revents = 0;
            if (recv(fds[i].fd, order, sizeof(order), MSG_WAITALL)
                == sizeof(order)) {
                send_datagrams(udp, (int)be64toh(order[0]),
                               be64toh(order[1]), be64toh(order[2]));
                send_whole(fds[i].fd, "", 1);
            } else {
                close(fds[i].fd);
                fds[i--] = fds[--known];
            }
        }
    }
    return 0;
}
