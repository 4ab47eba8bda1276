/* The other end of a broadcast: many connections, one acknowledgement.
 *
 * Prints its port as the harness expects it. The first connection is for
 * control; those that come later are to receive. On the first, a header of
 * four 64-bit integers in network order says how many bytes a message has, how
 * many messages come on each connection, whether to look at them, and how many
 * connections there are; when all of them have got all of it two integers go
 * back: the bytes that came, and how many of them are not what they should be.
 * Byte i of a message is i modulo 251.
 */
#include "driver.h"

#include <errno.h>
#include <sys/epoll.h>

#define CONNECTIONS 65536
#define EVENTS 256

static uint64_t taken[CONNECTIONS];
static unsigned char room[65536];
static int control = -1;

static struct {
    uint64_t size, count, verify, connections;
    uint64_t total, wrong, complete;
} task;

static void
watch_for_input(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
}

static void
start_task(void)
{
    uint64_t header[4];
    ssize_t got = recv(control, header, 1, MSG_PEEK | MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return;
    if (recv(control, header, sizeof(header), MSG_WAITALL) != sizeof(header))
        exit(0);
    memset(&task, 0, sizeof(task));
    memset(taken, 0, sizeof(taken));
    task.size = be64toh(header[0]);
    task.count = be64toh(header[1]);
    task.verify = be64toh(header[2]);
    task.connections = be64toh(header[3]);
}

static void
drain(int fd)
{
    ssize_t got;

    /* The header was sent before, and yet epoll may tell of it later. */
    if (!task.connections)
        start_task();
    got = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(fd);
        return;
    }
    for (ssize_t i = 0; task.verify && i < got; i++)
        task.wrong += room[i]
                      != (taken[fd] + (uint64_t)i) % task.size % 251;
    taken[fd] += (uint64_t)got;
    task.total += (uint64_t)got;
    if (taken[fd] == task.size * task.count)
        task.complete++;
}

static void
acknowledge(void)
{
    uint64_t answer[2] = {htobe64(task.total), htobe64(task.wrong)};

    task.connections = 0;
    send_whole(control, answer, sizeof(answer));
}

int
main(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof(name);
    struct epoll_event events[EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int epoll = epoll_create1(0);

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&name, size) < 0
        || listen(listener, 4096) < 0
        || getsockname(listener, (struct sockaddr *)&name, &size) < 0)
        die("cannot listen");
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    watch_for_input(epoll, listener);
    for (;;) {
        /* While it is sent to it does not sleep: on a network of its own the
         * sender would not pay for waking it. */
        int count = epoll_wait(epoll, events, EVENTS,
                               task.connections ? 0 : -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd == listener) {
                fd = accept(listener, NULL, NULL);
                if (fd >= CONNECTIONS)
                    die("too many connections");
                if (control < 0)
                    control = fd;
                watch_for_input(epoll, fd);
            } else if (fd == control) {
                start_task();
            } else {
                drain(fd);
            }
        }
        if (task.connections && task.complete == task.connections)
            acknowledge();
    }
}
