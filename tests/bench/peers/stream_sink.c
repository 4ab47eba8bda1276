/* The other end of stream benchmarks: reads, counts, acknowledges.
 *
 * Prints its port as the harness expects it, and has a thread for each
 * connection. A header of three 64-bit integers in network order says how many
 * bytes a batch has, how many batches come, and whether to look at them; when
 * all of it is here two such integers go back: the bytes that came, and how
 * many of them are not what they should be. Byte i of a batch is i modulo 251.
 *
 * While it is sent to it does not sleep. Waking it takes 2 us or 20, as the
 * processors happen to idle, and has the sender wait for that, which it would
 * not have to on a network.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* What fits the second-level cache of today's processors. */
#define ROOM (256 * 1024)

static uint64_t
count_wrong(const unsigned char *data, size_t size, uint64_t start,
            uint64_t batch_size)
{
    uint64_t wrong = 0;

    for (size_t i = 0; i < size; i++)
        wrong += data[i] != (start + i) % batch_size % 251;
    return wrong;
}

static void *
drain(void *argument)
{
    int fd = (int)(intptr_t)argument;
    unsigned char *room = malloc(ROOM);
    uint64_t header[3], answer[2];

    while (room
           && recv(fd, header, sizeof(header), MSG_WAITALL)
                  == sizeof(header)) {
        uint64_t batch_size = be64toh(header[0]);
        uint64_t size = batch_size * be64toh(header[1]);
        uint64_t taken = 0, wrong = 0;

        while (taken < size) {
            size_t want = size - taken < ROOM ? size - taken : ROOM;
            ssize_t got = recv(fd, room, want, MSG_DONTWAIT);

            if (got < 0 && errno == EAGAIN) {
                sched_yield();
                continue;
            }
            if (got <= 0)
                goto out;
            if (header[2])
                wrong += count_wrong(room, (size_t)got, taken, batch_size);
            taken += (uint64_t)got;
        }
        answer[0] = htobe64(taken);
        answer[1] = htobe64(wrong);
        if (send(fd, answer, sizeof(answer), MSG_NOSIGNAL) < 0)
            break;
    }
out:
    free(room);
    close(fd);
    return NULL;
}

int
main(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof(name);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&name, size) < 0
        || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&name, &size) < 0) {
        perror("stream_sink");
        return 1;
    }
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        pthread_t thread;
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (pthread_create(&thread, NULL, drain, (void *)(intptr_t)fd) != 0)
            return 1;
        pthread_detach(thread);
    }
}
