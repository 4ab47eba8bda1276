/* The load on a datagram server: datagram_load PORT.
 *
 *   full...   keeps `window` requests on their way, from `peers` sockets
 *   paced...  sends `rate` requests a second, or `load` parts of what the last
 *             full case took, whether answers come or not
 *
 * With dns=1 the requests are queries for some names of example.org, else
 * datagrams of SIZE bytes that are to come back as they were. Each begins with
 * a number of 16 bits, by which its answer is known. The answer to the harness
 * has percentiles of the microseconds from a request to its answer.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>

#include "udp.h"

#define SIZE 1200
#define RUN 54 /* in a message of at most 65507 bytes */
#define MAX_PEERS 1024
#define NUMBERS 65536
#define KINDS 8
#define MAX_RATES 64
#define QUIET 0.3 /* seconds until what has not come is lost */
#define NOBODY -1
#define GIVEN_UP -2

static char train[RUN][SIZE];
static char room[65536];
static char queries[KINDS][64];
static size_t query_sizes[KINDS];

static int fds[MAX_PEERS], ready_fds = -1;
static int peers;
static int dns;

/* Of each number that is on its way: since when, and from which peer. */
static double sent_at[NUMBERS];
static int owner[NUMBERS];
static uint16_t next_number;

static float *latencies; /* microseconds */
static long sent, answered, lost, waiting, wanted;

static void
build_queries(void)
{
    static const char *const names[] = {"www", "mail", "nobody", "ns"};

    for (int kind = 0; kind < KINDS; kind++) {
        char *end = queries[kind];
        size_t length = strlen(names[kind / 2]);

        /* RFC 1035, 4.1: a recursive query with one question. */
        memcpy(end, "\0\0\1\0\0\1\0\0\0\0\0\0", 12);
        end += 12;
        *end++ = (char)length;
        memcpy(end, names[kind / 2], length);
        end += length;
        memcpy(end, "\7example\3org\0\0", 14);
        end += 14;
        *end++ = kind % 2 ? 28 : 1; /* AAAA, A */
        *end++ = 0;
        *end++ = 1;
        query_sizes[kind] = (size_t)(end - queries[kind]);
    }
}

static void
open_peers(int count, int port)
{
    struct sockaddr_in name = loopback(port);

    for (int i = 0; i < peers; i++)
        close(fds[i]);
    if (ready_fds >= 0)
        close(ready_fds);
    ready_fds = epoll_create1(0);
    peers = count;
    for (int i = 0; i < peers; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = i};

        fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
        coalesce(fds[i]);
        receive_buffer(fds[i], 8 << 20);
        if (connect(fds[i], (struct sockaddr *)&name, sizeof(name)) < 0
            || epoll_ctl(ready_fds, EPOLL_CTL_ADD, fds[i], &event) < 0)
            die("cannot open a socket for each peer");
    }
}

/* Put the next number into a request, and note that it is on its way. */
static void
number(char *request, int peer, double moment)
{
    uint16_t own = next_number++;

    if (owner[own] >= 0)
        die("more requests are on their way than there are numbers");
    memcpy(request, &own, sizeof(own));
    sent_at[own] = moment;
    owner[own] = peer;
    sent++;
    waiting++;
}

static void
deliver(int fd, struct msghdr *header)
{
    if (sendmsg(fd, header, 0) < 0)
        die("cannot send a request");
}

static void
ask_dns(int peer, long count)
{
    for (; count > 0; count--) {
        int kind = next_number % KINDS;
        struct iovec iovec = {queries[kind], query_sizes[kind]};
        struct msghdr header = {.msg_iov = &iovec, .msg_iovlen = 1};

        number(queries[kind], peer, now());
        deliver(fds[peer], &header);
    }
}

/* Send requests, cut up by the kernel: this end must not be the slow one. */
static void
ask(int peer, long count)
{
    if (count > wanted - sent)
        count = wanted - sent;
    if (dns) {
        ask_dns(peer, count);
        return;
    }
    while (count > 0) {
        char control[SEGMENT_CONTROL_SIZE] = {0};
        long run = count < RUN ? count : RUN;
        struct iovec iovec = {train, (size_t)run * SIZE};
        struct msghdr header = {.msg_iov = &iovec, .msg_iovlen = 1};
        double moment = now();

        for (long i = 0; i < run; i++)
            number(train[i], peer, moment);
        if (run > 1)
            segment(&header, control, SIZE);
        deliver(fds[peer], &header);
        count -= run;
    }
}

/* Count an answer; returns 0 if it was given up before. */
static int
note(const char *answer, size_t size, int peer, double moment)
{
    uint16_t own;
    int good = dns ? size >= 12 && (answer[2] & 0x80) : size == SIZE;

    memcpy(&own, answer, sizeof(own));
    if (good && owner[own] == GIVEN_UP)
        return 0;
    if (!good || owner[own] != peer)
        die("an answer is not what was asked for");
    owner[own] = NOBODY;
    waiting--;
    latencies[answered++] = (float)((moment - sent_at[own]) * 1e6);
    return 1;
}

/* Take one message; returns how many answers it had, -1 if there is none. */
static int
take(int peer)
{
    char control[64];
    struct iovec iovec = {room, sizeof(room)};
    struct msghdr header = {.msg_iov = &iovec,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof(control)};
    ssize_t size = recvmsg(fds[peer], &header, MSG_DONTWAIT);
    size_t left, part;
    double moment = now();
    int count = 0;

    if (size < 0 && errno == EAGAIN)
        return -1;
    if (size < 2)
        die("the server is gone, or answers nothing");
    left = (size_t)size;
    part = segment_size_of(&header);
    for (char *answer = room; left > 0;) {
        size_t own = part && part < left ? part : left;

        count += note(answer, own, peer, moment);
        answer += own;
        left -= own;
    }
    return count;
}

/* Take what comes within `patience` seconds; returns whether anything did.
 *
 * `again` is whether to take until there is no more, and to ask as much again;
 * 0 takes one message of each peer, and asks; -1 takes one, and does not ask.
 */
static int
take_all(double patience, int again)
{
    struct epoll_event events[64];
    struct pollfd any = {ready_fds, POLLIN, 0};
    struct timespec limit = {(time_t)patience,
                             (long)((patience - (time_t)patience) * 1e9)};
    int count;

    if (ppoll(&any, 1, &limit, NULL) <= 0)
        return 0;
    count = epoll_wait(ready_fds, events, 64, 0);
    for (int i = 0; i < count; i++) {
        int peer = events[i].data.fd, taken, all = 0;

        while ((taken = take(peer)) >= 0) {
            all += taken;
            if (again <= 0)
                break;
        }
        if (again >= 0)
            ask(peer, all);
    }
    return 1;
}

/* Go on without what is on its way; should it come late, it does not count. */
static void
give_up(void)
{
    lost += waiting;
    sent -= waiting;
    waiting = 0;
    for (int i = 0; i < NUMBERS; i++)
        if (owner[i] >= 0)
            owner[i] = GIVEN_UP;
}

static void
run_full(int window)
{
    int share = window / peers > 0 ? window / peers : 1;

    while (answered < wanted) {
        if (waiting == 0)
            for (int i = 0; i < peers; i++)
                ask(i, share);
        /* From peers with one request each there is no more to take. */
        if (!take_all(QUIET, share > 1))
            give_up();
    }
}

static void
run_paced(double rate)
{
    double start = now();

    while (sent < wanted) {
        double left = start + (double)sent / rate - now();

        if (left > 0)
            take_all(left, -1);
        else
            ask((int)(sent % peers), 1);
    }
    while (waiting > 0 && take_all(QUIET, -1))
        ;
    lost = waiting;
}

static int
ascending(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;

    return (a > b) - (a < b);
}

static int
ascending_rates(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

int
main(int argc, char *argv[])
{
    static double rates[MAX_RATES];
    int rate_count = 0;
    char last_full[64] = "";
    struct request asked;

    if (argc != 2)
        return 2;
    /* So that a wait of some microseconds is one. */
    prctl(PR_SET_TIMERSLACK, 1);
    memset(train, 'x', sizeof(train));
    build_queries();
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        int wanted_peers = (int)number_option(&asked, "peers", 1);
        int paced = strncmp(asked.name, "paced", 5) == 0;
        const char *load = option(&asked, "load");
        double rate = (double)number_option(&asked, "rate", 1000);
        struct stopwatch watch;

        if (wanted_peers < 1 || wanted_peers > MAX_PEERS)
            die("so many peers are not possible");
        dns = (int)number_option(&asked, "dns", 0);
        open_peers(wanted_peers, atoi(argv[1]));
        latencies = calloc((size_t)asked.count, sizeof(*latencies));
        wanted = asked.count;
        sent = answered = lost = waiting = 0;
        for (int i = 0; i < NUMBERS; i++)
            owner[i] = NOBODY;
        if (load != NULL) {
            if (rate_count == 0)
                die("there is no full case before this one");
            qsort(rates, (size_t)rate_count, sizeof(*rates), ascending_rates);
            rate = rates[rate_count / 2] * atof(load);
        }
        watch = start_watch();
        if (paced)
            run_paced(rate);
        else
            run_full((int)number_option(&asked, "window", 256));
        watch = read_watch(watch);
        if (!paced) {
            if (strcmp(last_full, asked.name) != 0)
                rate_count = 0;
            strcpy(last_full, asked.name);
            if (rate_count < MAX_RATES)
                rates[rate_count++] = (double)answered / watch.seconds;
        }
        qsort(latencies, (size_t)answered, sizeof(*latencies), ascending);
        if (answered == 0)
            die("no answer came");
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"datagrams\": %ld, \"lost\": %ld, \"rate\": %.0f, "
               "\"p50\": %.1f, \"p99\": %.1f}\n",
               watch.seconds, watch.cpu, asked.count, answered, lost, rate,
               latencies[answered / 2], latencies[answered * 99 / 100]);
        fflush(stdout);
        free(latencies);
    }
    return 0;
}
