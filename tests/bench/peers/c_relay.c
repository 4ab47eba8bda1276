/* A relay of streams by splice(2): a pipe and a thread for each direction. */
#include "driver.h"

#include <fcntl.h>
#include <pthread.h>

/* What a pipe takes without further ado, as the relay of triobatch's does. */
#define PIPE_SIZE (1 << 20)

struct direction {
    int from, to;
};

static void *
hand_on(void *argument)
{
    const struct direction *direction = argument;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        die("no pipe");
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
    for (;;) {
        ssize_t left = splice(direction->from, NULL, ends[1], NULL, PIPE_SIZE,
                              SPLICE_F_MOVE);

        if (left <= 0)
            break;
        while (left > 0) {
            ssize_t sent = splice(ends[0], NULL, direction->to, NULL,
                                  (size_t)left, SPLICE_F_MOVE);

            if (sent <= 0)
                return NULL;
            left -= sent;
        }
    }
    shutdown(direction->to, SHUT_WR);
    return NULL;
}

int
main(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof(name);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1, ends[2];
    struct direction there, back;
    pthread_t thread;

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&name, size) < 0
        || listen(listener, 2) < 0
        || getsockname(listener, (struct sockaddr *)&name, &size) < 0)
        die("cannot listen");
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    for (int i = 0; i < 2; i++) {
        ends[i] = accept(listener, NULL, NULL);
        if (ends[i] < 0)
            die("cannot accept");
        setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    there = (struct direction){ends[0], ends[1]};
    back = (struct direction){ends[1], ends[0]};
    if (pthread_create(&thread, NULL, hand_on, &back) != 0)
        die("no thread");
    hand_on(&there);
    pthread_join(thread, NULL);
    return 0;
}
