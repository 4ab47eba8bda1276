/* The client of datagram_echo.py.
 *
 *   blast PORT PEERS MILLISECONDS   keeps requests on their way from PEERS
 *                                   sockets; prints echoes a second
 *   ping PORT COUNT                 one request a millisecond; prints the
 *                                   median and the 99th percentile of the
 *                                   microseconds until it is back
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SIZE 1200
#define ON_THEIR_WAY 256
#define MAX_PEERS 64
#define RCVBUFFORCE 33

static char payload[ON_THEIR_WAY * SIZE];
static char room[65536];

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int
client(const char *port)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int on = 1, size = 8 << 20;
    struct sockaddr_in name;

    memset(&name, 0, sizeof(name));
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    name.sin_port = htons((uint16_t)atoi(port));
    setsockopt(fd, 17, 104, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, RCVBUFFORCE, &size, sizeof(size));
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        exit(1);
    return fd;
}

/* Send requests, cut up by the kernel: this end must not be the slow one. */
static void
ask(int fd, int count)
{
    while (count > 0) {
        char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
        int run = count < 54 ? count : 54;
        struct iovec iovec = {payload, (size_t)run * SIZE};
        struct msghdr header = {0};
        uint16_t segment_size = SIZE;

        header.msg_iov = &iovec;
        header.msg_iovlen = 1;
        if (run > 1) {
            struct cmsghdr *item;

            header.msg_control = control;
            header.msg_controllen = sizeof(control);
            item = CMSG_FIRSTHDR(&header);
            item->cmsg_level = 17;
            item->cmsg_type = 103;
            item->cmsg_len = CMSG_LEN(sizeof(segment_size));
            memcpy(CMSG_DATA(item), &segment_size, sizeof(segment_size));
        }
        if (sendmsg(fd, &header, 0) < 0)
            exit(1);
        count -= run;
    }
}

static double
blast(const char *port, int peers, double duration)
{
    struct pollfd fds[MAX_PEERS];
    int share = ON_THEIR_WAY / peers;
    long echoes = 0;
    double start, spent;

    for (int i = 0; i < peers; i++) {
        fds[i].fd = client(port);
        fds[i].events = POLLIN;
        ask(fds[i].fd, share);
    }
    start = now();
    while ((spent = now() - start) < duration) {
        if (poll(fds, (nfds_t)peers, 20) == 0) {
            /* What is not back by now was dropped. */
            for (int i = 0; i < peers; i++)
                ask(fds[i].fd, share);
            continue;
        }
        for (int i = 0; i < peers; i++) {
            int count = 0;
            ssize_t size;

            if (!(fds[i].revents & POLLIN))
                continue;
            while ((size = recv(fds[i].fd, room, sizeof(room), MSG_DONTWAIT))
                   > 0)
                count += (int)(size / SIZE);
            echoes += count;
            ask(fds[i].fd, count);
        }
    }
    return (double)echoes / spent * 1e6;
}

static int
ascending(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;

    return (difference > 0) - (difference < 0);
}

static void
ping(const char *port, int count)
{
    double *spent = malloc((size_t)count * sizeof(*spent));
    int fd = client(port);

    for (int i = 0; i < count; i++) {
        double start = now();

        if (send(fd, payload, SIZE, 0) < 0
            || recv(fd, room, sizeof(room), 0) != SIZE)
            exit(1);
        spent[i] = now() - start;
        usleep(1000);
    }
    qsort(spent, (size_t)count, sizeof(*spent), ascending);
    printf("%.1f %.1f\n", spent[count / 2], spent[count * 99 / 100]);
    free(spent);
}

int
main(int argc, char *argv[])
{
    if (argc == 5 && strcmp(argv[1], "blast") == 0) {
        int peers = atoi(argv[3]);

        if (peers < 1 || peers > MAX_PEERS)
            return 2;
        printf("%.0f\n", blast(argv[2], peers, atof(argv[4]) * 1e3));
        return 0;
    }
    if (argc == 4 && strcmp(argv[1], "ping") == 0) {
        ping(argv[2], atoi(argv[3]));
        return 0;
    }
    return 2;
}
