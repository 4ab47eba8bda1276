/* The C contestants of datagrams.py, and the other end of its sockets.
 *
 *   drain                       receives with GRO for ever; prints its port
 *   send PORT CALLS             sends CALLS messages of 54 segments
 *   receive ROUNDS              receives from itself as the next line says
 *
 * `send` and `receive` print nanoseconds a datagram.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SIZE 1200
#define SEGMENTS 54
#define SLOTS 64
#define SLOT_SIZE 65536
#define RCVBUFFORCE 33

static char slots[SLOTS][SLOT_SIZE];
static char payload[SIZE * SEGMENTS];

static double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int
receiver(struct sockaddr_in *name)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int on = 1, room = 8 << 20;
    socklen_t size = sizeof(*name);

    memset(name, 0, sizeof(*name));
    name->sin_family = AF_INET;
    name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)name, size) < 0
        || getsockname(fd, (struct sockaddr *)name, &size) < 0)
        exit(1);
    setsockopt(fd, 17, 104, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, RCVBUFFORCE, &room, sizeof(room));
    return fd;
}

/* Receive what is there with one call; returns the bytes. */
static size_t
receive(int fd, int flags)
{
    static char control[SLOTS][64];
    struct mmsghdr messages[SLOTS];
    struct iovec iovecs[SLOTS];
    struct sockaddr_in names[SLOTS];
    size_t total = 0;
    int count;

    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < SLOTS; i++) {
        iovecs[i].iov_base = slots[i];
        iovecs[i].iov_len = SLOT_SIZE;
        messages[i].msg_hdr.msg_iov = &iovecs[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &names[i];
        messages[i].msg_hdr.msg_namelen = sizeof(names[i]);
        messages[i].msg_hdr.msg_control = control[i];
        messages[i].msg_hdr.msg_controllen = sizeof(control[i]);
    }
    count = recvmmsg(fd, messages, SLOTS, flags, NULL);
    for (int i = 0; i < count; i++)
        total += messages[i].msg_len;
    return total;
}

static void
send_runs(int fd, const struct sockaddr_in *target, int calls)
{
    char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec iovec = {payload, sizeof(payload)};
    struct msghdr header = {0};
    struct cmsghdr *item;
    uint16_t segment_size = SIZE;

    header.msg_name = (void *)(uintptr_t)target;
    header.msg_namelen = sizeof(*target);
    header.msg_iov = &iovec;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = 17;
    item->cmsg_type = 103;
    item->cmsg_len = CMSG_LEN(sizeof(segment_size));
    memcpy(CMSG_DATA(item), &segment_size, sizeof(segment_size));
    for (int i = 0; i < calls; i++)
        if (sendmsg(fd, &header, 0) < 0)
            exit(1);
}

int
main(int argc, char *argv[])
{
    struct sockaddr_in name;
    int fd;

    if (argc < 2)
        return 2;
    if (strcmp(argv[1], "drain") == 0) {
        fd = receiver(&name);
        printf("%d\n", ntohs(name.sin_port));
        fflush(stdout);
        for (;;)
            receive(fd, MSG_WAITFORONE);
    }
    if (strcmp(argv[1], "send") == 0 && argc == 4) {
        int calls = atoi(argv[3]);
        double start;

        memset(&name, 0, sizeof(name));
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name.sin_port = htons((uint16_t)atoi(argv[2]));
        fd = socket(AF_INET, SOCK_DGRAM, 0);
        start = now();
        send_runs(fd, &name, calls);
        printf("%.1f\n", (now() - start) / calls / SEGMENTS);
        return 0;
    }
    if (strcmp(argv[1], "receive") == 0 && argc == 3) {
        int rounds = atoi(argv[2]);
        int sender = socket(AF_INET, SOCK_DGRAM, 0);
        double spent = 0;
        size_t bytes = 0;

        fd = receiver(&name);
        for (int i = 0; i < rounds; i++) {
            double start;

            send_runs(sender, &name, 8);
            start = now();
            bytes += receive(fd, MSG_DONTWAIT);
            spent += now() - start;
        }
        printf("%.1f\n", spent / (double)(bytes / SIZE));
        return 0;
    }
    return 2;
}
