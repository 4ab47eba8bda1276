/* Sends messages on each connection, as many as a header asks for.
 *
 * The header is that of stream_sink.c: bytes a message, messages, and a third
 * integer that is not looked at. Byte i of a message is i modulo 10, and a
 * message ends with a line feed. As much is written at a time as there is room
 * for, so that several come together.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (64 * 1024)

static void *
supply(void *argument)
{
    int fd = (int)(intptr_t)argument;
    unsigned char *room = malloc(ROOM);
    uint64_t header[3];

    while (room
           && recv(fd, header, sizeof(header), MSG_WAITALL)
                  == sizeof(header)) {
        uint64_t size = be64toh(header[0]);
        uint64_t left = size * be64toh(header[1]);
        uint64_t whole;

        if (size == 0 || size > ROOM)
            break;
        whole = ROOM / size * size;
        for (uint64_t i = 0; i < whole; i++)
            room[i] = (unsigned char)(i % size == size - 1
                                          ? '\n'
                                          : '0' + i % size % 10);
        while (left > 0) {
            uint64_t part = left < whole ? left : whole;
            uint64_t done = 0;

            while (done < part) {
                ssize_t sent = send(fd, room + done, part - done, MSG_NOSIGNAL);

                if (sent <= 0)
                    goto out;
                done += (uint64_t)sent;
            }
            left -= part;
        }
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
        perror("stream_source");
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
        if (pthread_create(&thread, NULL, supply, (void *)(intptr_t)fd) != 0)
            return 1;
        pthread_detach(thread);
    }
}
