/* The driver's side of the protocol in harness/contestants.py, for C. */
#include <arpa/inet.h>
#include <endian.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct request {
    char name[64];
    long count;
    char line[1024];
};

struct stopwatch {
    double seconds, cpu;
};

static inline void
die(const char *what)
{
    printf("{\"error\": \"%s\"}\n", what);
    fflush(stdout);
    exit(1);
}

static inline double
now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline double
cpu_seconds(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static inline struct stopwatch
start_watch(void)
{
    return (struct stopwatch){now(), cpu_seconds()};
}

static inline struct stopwatch
read_watch(struct stopwatch start)
{
    double seconds = now() - start.seconds;

    return (struct stopwatch){seconds, cpu_seconds() - start.cpu};
}

/* Read the next line; returns 0 at the end. */
static inline int
next_request(struct request *request)
{
    if (!fgets(request->line, sizeof(request->line), stdin))
        return 0;
    if (sscanf(request->line, "measure %63s %ld", request->name,
               &request->count) != 2)
        die("this line cannot be understood");
    return 1;
}

/* Return what follows NAME= in the line, or NULL. */
static inline const char *
option(const struct request *request, const char *name)
{
    size_t size = strlen(name);
    const char *place = request->line;

    while ((place = strstr(place, name)) != NULL) {
        if (place[-1] == ' ' && place[size] == '=')
            return place + size + 1;
        place++;
    }
    return NULL;
}

static inline long
number_option(const struct request *request, const char *name, long otherwise)
{
    const char *text = option(request, name);

    return text ? atol(text) : otherwise;
}

static inline int
connect_to(int port)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
        die("cannot connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static inline void
send_whole(int fd, const void *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

        if (sent < 0)
            die("cannot send");
        data = (const char *)data + sent;
        size -= (size_t)sent;
    }
}

/* Announce batches to stream_sink.c. */
static inline void
send_header(int fd, uint64_t size, uint64_t count, uint64_t verify)
{
    uint64_t header[3] = {htobe64(size), htobe64(count), htobe64(verify)};

    send_whole(fd, header, sizeof(header));
}

/* Wait for the sink; returns the bytes that came, and sets those wrong. */
static inline uint64_t
receive_acknowledgement(int fd, uint64_t *wrong)
{
    uint64_t answer[2];

    if (recv(fd, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
        die("the sink did not acknowledge");
    *wrong = be64toh(answer[1]);
    return be64toh(answer[0]);
}
