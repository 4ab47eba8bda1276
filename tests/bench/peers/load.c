/* The clients of a request and response server, all in one thread: PORT.
 *
 * Each of `connections` has `pipelined` requests of `request` bytes under way,
 * sent together, and sends the next when it has all their responses of
 * `response` bytes, whose byte i is i modulo 251. Every byte of every response
 * is compared. Reports the time until COUNT responses were here, or a few more,
 * and the 50th and 99th percentile of what they took, in microseconds.
 */
#include "driver.h"

#include <errno.h>
#include <sys/epoll.h>

#define EVENTS 256

struct client {
    int fd;
    size_t have;
    double asked;
    unsigned char *response;
};

static struct client *clients;
static long client_count;
static size_t request_size, response_size;
static long pipelined;
static unsigned char *request_data, *expected;
static int epoll;

static void
set_up(int port, const struct request *request)
{
    long wanted = number_option(request, "connections", 1);

    for (long i = 0; i < client_count; i++) {
        close(clients[i].fd);
        free(clients[i].response);
    }
    free(clients);
    free(request_data);
    free(expected);
    request_size = (size_t)number_option(request, "request", 1);
    response_size = (size_t)number_option(request, "response", 1);
    pipelined = number_option(request, "pipelined", 1);
    size_t each = response_size;
    request_size *= (size_t)pipelined;
    response_size *= (size_t)pipelined;
    request_data = calloc(1, request_size);
    expected = malloc(response_size);
    for (size_t i = 0; i < response_size; i++)
        expected[i] = (unsigned char)(i % each % 251);
    clients = calloc((size_t)wanted, sizeof(*clients));
    for (client_count = 0; client_count < wanted; client_count++) {
        struct client *client = &clients[client_count];
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

        client->fd = connect_to(port);
        client->response = malloc(response_size);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0)
            die("epoll_ctl");
    }
}

static void
ask(struct client *client)
{
    client->have = 0;
    client->asked = now();
    send_whole(client->fd, request_data, request_size);
}

/* Returns whether the response is complete. */
static int
take(struct client *client, uint64_t *bytes, uint64_t *wrong)
{
    ssize_t got = recv(client->fd, client->response + client->have,
                       response_size - client->have, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        die("the server closed a connection");
    client->have += (size_t)got;
    *bytes += (uint64_t)got;
    if (client->have < response_size)
        return 0;
    if (memcmp(client->response, expected, response_size) != 0)
        for (size_t i = 0; i < response_size; i++)
            *wrong += client->response[i] != expected[i];
    return 1;
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static void
measure(long count)
{
    count = (count + pipelined - 1) / pipelined;
    double *took = malloc((size_t)count * sizeof(*took));
    long asked = 0, done = 0;
    uint64_t bytes = 0, wrong = 0;
    struct stopwatch watch = start_watch();

    while (asked < client_count && asked < count)
        ask(&clients[asked++]);
    while (done < count) {
        struct epoll_event events[EVENTS];
        /* It never sleeps, so that no server pays for waking it. */
        int ready = epoll_wait(epoll, events, EVENTS, 0);

        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;

            if (!take(client, &bytes, &wrong))
                continue;
            took[done++] = now() - client->asked;
            if (asked < count) {
                asked++;
                ask(client);
            }
        }
    }
    watch = read_watch(watch);
    qsort(took, (size_t)count, sizeof(*took), compare);
    printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
           "\"bytes\": %llu, \"wrong\": %llu, \"p50\": %.3f, \"p99\": %.3f}\n",
           watch.seconds, watch.cpu, done * pipelined,
           (unsigned long long)bytes,
           (unsigned long long)wrong, took[count / 2] * 1e6,
           took[count * 99 / 100] * 1e6);
    fflush(stdout);
    free(took);
}

int
main(int argc, char *argv[])
{
    struct request request;
    char name[64] = "";

    if (argc != 2)
        return 2;
    epoll = epoll_create1(0);
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&request)) {
        if (strcmp(name, request.name) != 0) {
            set_up(atoi(argv[1]), &request);
            strcpy(name, request.name);
        }
        measure(request.count);
    }
    return 0;
}
