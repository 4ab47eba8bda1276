/* Requests answered with writev of a header and a body; one thread, epoll. */
#include "driver.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#define REQUEST_SIZE 64
/* As many as a connection may have under way. */
#define REQUESTS 16
#define CONNECTIONS 65536
#define EVENTS 256

static size_t header_size = 200, body_size = 4096;
static unsigned char response[200 + 4096];
static size_t have[CONNECTIONS];

static void
respond(int fd, size_t count)
{
    struct iovec chunks[2 * REQUESTS];
    ssize_t sent;

    if (count > REQUESTS)
        die("too many requests");
    for (size_t i = 0; i < count; i++) {
        chunks[2 * i].iov_base = response;
        chunks[2 * i].iov_len = header_size;
        chunks[2 * i + 1].iov_base = response + header_size;
        chunks[2 * i + 1].iov_len = body_size;
    }
    sent = writev(fd, chunks, (int)(2 * count));
    /* Only a client with more of them under way could fill the buffer. */
    if (sent != (ssize_t)(count * (header_size + body_size)))
        die("a response does not fit");
}

static void
serve(int fd)
{
    char room[65536];
    ssize_t got = recv(fd, room, sizeof(room), MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    have[fd] += (size_t)got;
    if (have[fd] >= REQUEST_SIZE)
        respond(fd, have[fd] / REQUEST_SIZE);
    have[fd] %= REQUEST_SIZE;
}

int
main(int argc, char *argv[])
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof(name);
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int epoll = epoll_create1(0), on = 1;

    if (argc > 1 && strcmp(argv[1], "small") == 0) {
        header_size = 24;
        body_size = 40;
    }
    for (size_t i = 0; i < sizeof(response); i++)
        response[i] = (unsigned char)(i % 251);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&name, size) < 0
        || listen(listener, 1024) < 0
        || getsockname(listener, (struct sockaddr *)&name, &size) < 0)
        die("cannot listen");
    event.data.fd = listener;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll_ctl");
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                serve(fd);
                continue;
            }
            fd = accept(listener, NULL, NULL);
            if (fd < 0 || fd >= CONNECTIONS)
                die("cannot accept");
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
            have[fd] = 0;
            event.data.fd = fd;
            if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
                die("epoll_ctl");
        }
    }
}
