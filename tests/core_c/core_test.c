/* The C core alone, called from C: no Python, so that it runs under valgrind,
 * and emulated, where a machine has another byte order or another word.
 */
#include "core_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Thread_local int passed, failed, emulated;

#define CHECK(condition)                                                    \
    do {                                                                    \
        if (condition) {                                                    \
            passed++;                                                       \
        } else {                                                            \
            failed++;                                                       \
            printf("%s:%d: %s: %s\n", __FILE__, __LINE__, __func__,         \
                   #condition);                                             \
        }                                                                   \
    } while (0)

static void
make_pair(int type, int pair[2])
{
    if (socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, pair) != 0) {
        perror("socketpair");
        exit(2);
    }
}

static void
close_pair(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

/* A UDP socket on loopback, and its own address. */
static int
make_udp(struct sockaddr_in *address)
{
    socklen_t size = sizeof *address;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)address, size) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        perror("a UDP socket");
        exit(2);
    }
    return fd;
}

static void
a_piece_is_sent_and_received(void)
{
    int pair[2];
    char room[8] = "";

    make_pair(SOCK_STREAM, pair);
    CHECK(tb_receive(pair[1], room, sizeof room) == -EAGAIN);
    CHECK(tb_send(pair[0], "hello", 5) == 5);
    CHECK(tb_receive(pair[1], room, 2) == 2);
    CHECK(tb_receive(pair[1], room + 2, 6) == 3);
    CHECK(memcmp(room, "hello", 5) == 0);
    close(pair[0]);
    CHECK(tb_receive(pair[1], room, sizeof room) == 0);
    CHECK(tb_send(pair[1], "x", 1) == -EPIPE);
    close(pair[1]);
    CHECK(tb_send(-1, "x", 1) == -EBADF);
}

/* Receive what fits of the `size` bytes at `room`, some at a time. */
static ssize_t
receive_some(int fd, char *room, size_t size)
{
    return tb_receive(fd, room, size < 60001 ? size : 60001);
}

static void
a_vector_goes_on_where_it_stopped(void)
{
    enum { CHUNKS = 1500, CHUNK = 700 };
    static _Thread_local char data[CHUNKS][CHUNK], got[CHUNKS * CHUNK];
    static _Thread_local struct iovec iovecs[CHUNKS];
    static _Thread_local void *bases[CHUNKS];
    static _Thread_local size_t sizes[CHUNKS];
    struct tb_vector vector = {iovecs, CHUNKS, 0};
    size_t sent = 0, received = 0;
    int pair[2];

    make_pair(SOCK_STREAM, pair);
    for (size_t i = 0; i < CHUNKS; i++) {
        memset(data[i], (int)(i % 251), CHUNK);
        bases[i] = data[i];
        sizes[i] = CHUNK;
    }
    tb_point(iovecs, bases, sizes, CHUNKS);
    while (vector.next < vector.count) {
        ssize_t taken = tb_send_vector(pair[0], &vector);

        if (taken == -EAGAIN) {
            ssize_t part = receive_some(pair[1], got + received,
                                        sizeof got - received);

            if (part <= 0)
                break;
            received += (size_t)part;
        } else if (taken <= 0) {
            break;
        } else {
            sent += (size_t)taken;
        }
    }
    while (received < sizeof got) {
        ssize_t part = receive_some(pair[1], got + received,
                                        sizeof got - received);

        if (part <= 0)
            break;
        received += (size_t)part;
    }
    CHECK(vector.next == CHUNKS);
    CHECK(sent == sizeof data);
    CHECK(received == sizeof data);
    CHECK(memcmp(got, data, sizeof data) == 0);
    close_pair(pair);
}

static void
iovecs_are_filled_in_order(void)
{
    int pair[2];
    char first[3], second[4];
    struct iovec iovecs[2] = {{first, sizeof first}, {second, sizeof second}};

    make_pair(SOCK_STREAM, pair);
    CHECK(tb_send(pair[0], "abcdef", 6) == 6);
    CHECK(tb_receive_vector(pair[1], iovecs, 2) == 6);
    CHECK(memcmp(first, "abc", 3) == 0 && memcmp(second, "def", 3) == 0);
    close_pair(pair);
}

static void
a_group_sends_and_receives_each_its_own(void)
{
    enum { MEMBERS = 3 };
    int left[MEMBERS], right[MEMBERS + 1];
    struct iovec pieces[] = {{"a", 1}, {"bb", 2}, {"ccc", 3}, {"d", 1}};
    const uint32_t counts[MEMBERS] = {1, 2, 1}, too_many[MEMBERS] = {1, 2, 2};
    ssize_t results[MEMBERS + 1];
    char scratch[64], memory[4 * 16];

    for (size_t i = 0; i < MEMBERS; i++) {
        int pair[2];

        make_pair(SOCK_STREAM, pair);
        left[i] = pair[0];
        right[i] = pair[1];
    }
    right[MEMBERS] = -1;
    CHECK(tb_send_group(left, too_many, MEMBERS, pieces, 4, scratch,
                        sizeof scratch, results) == -EINVAL);
    CHECK(tb_send_group(left, counts, MEMBERS, pieces, 4, scratch,
                        sizeof scratch, results) == MEMBERS);
    CHECK(results[0] == 1 && results[1] == 5 && results[2] == 1);
    CHECK(tb_receive_group(right, MEMBERS + 1, memory, 63, 16, results) ==
          -EINVAL);
    CHECK(tb_receive_group(right, MEMBERS + 1, memory, 64, 16, results) == 7);
    CHECK(memcmp(memory, "abbcccd", 7) == 0);
    CHECK(results[1] == 5 && results[MEMBERS] == -EBADF);
    tb_broadcast(left, results, MEMBERS, "xyz", 3);
    CHECK(results[0] == 3 && results[1] == 3 && results[2] == 3);
    for (size_t i = 0; i < MEMBERS; i++) {
        close(left[i]);
        close(right[i]);
    }
}

/* TB_MESSAGES slots of 64 bytes; past allocated memory a sanitizer sees. */
static _Thread_local char *memory, *names, *control;
static _Thread_local uint32_t sizes[TB_MESSAGES], flags[TB_MESSAGES];
static _Thread_local uint32_t name_sizes[TB_MESSAGES];
static _Thread_local uint32_t control_sizes[TB_MESSAGES];
static _Thread_local uint32_t segment_sizes[TB_MESSAGES];
static _Thread_local struct tb_filling filling;

/* A thread's own. */
static struct tb_arena
make_arena(void)
{
    memory = calloc(TB_MESSAGES, 64);
    names = calloc(TB_MESSAGES, TB_NAME_SIZE);
    control = calloc(TB_MESSAGES, 256);
    if (memory == NULL || names == NULL || control == NULL)
        exit(2);
    return (struct tb_arena){
        .memory = memory,
        .slots = TB_MESSAGES,
        .slot_size = 64,
        .names = names,
        .name_size = TB_NAME_SIZE,
        .control = control,
        .control_size = 256,
        .sizes = sizes,
        .flags = flags,
        .name_sizes = name_sizes,
        .control_sizes = control_sizes,
        .segment_sizes = segment_sizes,
        .filling = &filling,
    };
}

static void
free_arena(void)
{
    free(memory);
    free(names);
    free(control);
}

static void
datagrams_keep_their_bounds(void)
{
    const struct tb_arena arena = make_arena();
    struct sockaddr_in here, there;
    int receiver = make_udp(&there), sender = make_udp(&here);
    const uint32_t three[3] = {1, 0, 70}, name_size = sizeof there;
    const uint16_t whole[3] = {0, 0, 0};
    char payload[71];

    memset(payload, 'p', sizeof payload);
    CHECK(tb_receive_datagrams(receiver, &arena, 4) == -EAGAIN);
    CHECK(tb_send_datagrams(sender, payload, 70, three, whole, 3,
                            (const char *)&there, sizeof there, &name_size, 1,
                            NULL, 0, NULL, 0) == -EINVAL);
    CHECK(tb_send_datagrams(sender, payload, 71, three, whole, 3,
                            (const char *)&there, sizeof there, &name_size, 1,
                            NULL, 0, NULL, 0) == 3);
    memory[3 * 64] = 'n';
    CHECK(tb_receive_datagrams(receiver, &arena, TB_MESSAGES) == 3);
    CHECK(memory[2 * 64 + 63] == 'p' && memory[3 * 64] == 'n');
    CHECK(sizes[0] == 1 && sizes[1] == 0 && sizes[2] == 70);
    CHECK((flags[2] & MSG_TRUNC) && !(flags[0] & MSG_TRUNC));
    CHECK(filling.messages == 3 && filling.next == 0);
    CHECK(name_sizes[0] == sizeof here);
    CHECK(memcmp(names, &here, 8) == 0);
    CHECK(tb_send_datagram(sender, "one", 3, (const char *)&there,
                           sizeof there) == 3);
    CHECK(tb_receive_datagrams(receiver, &arena, 1) == 1);
    CHECK(sizes[0] == 3 && memcmp(memory, "one", 3) == 0);
    close(receiver);
    close(sender);
    free_arena();
}

static void
a_refused_datagram_keeps_nobody(void)
{
    const struct tb_arena arena = make_arena();
    struct sockaddr_in here, there;
    int receiver = make_udp(&there), sender = make_udp(&here);
    struct sockaddr_in peers[3];
    const uint32_t ones[3] = {1, 1, 1};
    const uint32_t lengths[3] = {sizeof there, sizeof there, sizeof there};
    const uint16_t uncut[3] = {0, 0, 0};
    unsigned char tries[TB_ERRORS] = {0};
    struct tb_outcomes outcomes;

    peers[0] = peers[1] = peers[2] = there;
    /* Nothing can be sent to port 0. */
    peers[1].sin_port = 0;
    tries[EINVAL] = 2;
    CHECK(tb_send_past(sender, "abc", 3, ones, uncut, 3, (const char *)peers,
                       sizeof peers, lengths, 3, NULL, 0, NULL, 0, tries,
                       &outcomes) == 3);
    CHECK(outcomes.errors[0] == 0 && outcomes.errors[1] == EINVAL &&
          outcomes.errors[2] == 0);
    CHECK(outcomes.stopped == 0);
    CHECK(tb_receive_datagrams(receiver, &arena, 8) == 2);
    CHECK(memory[0] == 'a' && memory[64] == 'c');
    close(receiver);
    close(sender);
    free_arena();
}

static void
segments_are_cut_by_the_kernel(void)
{
    const struct tb_arena arena = make_arena();
    struct sockaddr_in here, there;
    int receiver = make_udp(&there), sender = make_udp(&here);
    char payload[100];
    ssize_t taken;

    memset(payload, 's', sizeof payload);
    taken = tb_send_segments(sender, payload, sizeof payload, 30,
                             emulated ? 30 : 90, (const char *)&there,
                             sizeof there, NULL, 0);
    CHECK(taken == (ssize_t)sizeof payload);
    CHECK(tb_receive_datagrams(receiver, &arena, TB_MESSAGES) == 4);
    CHECK(sizes[0] == 30 && sizes[2] == 30 && sizes[3] == 10);
    if (!emulated) {
        const int on = 1;

        CHECK(setsockopt(receiver, TB_SOL_UDP, TB_UDP_GRO, &on, sizeof on) ==
              0);
        CHECK(tb_send_segments(sender, payload, 60, 30, 60,
                               (const char *)&there, sizeof there, NULL,
                               0) == 60);
        CHECK(tb_receive_datagrams(receiver, &arena, TB_MESSAGES) == 1);
        CHECK(sizes[0] == 60 && segment_sizes[0] == 30);
        CHECK(filling.datagrams == 2);
    }
    close(receiver);
    close(sender);
    free_arena();
}

static void
a_part_of_a_file_is_sent(void)
{
    const int64_t far = INT64_C(5) << 30;
    FILE *opened = tmpfile();
    int pair[2], file = fileno(opened);
    char room[16];
    ssize_t known;

    make_pair(SOCK_STREAM, pair);
    CHECK(write(file, "0123456789", 10) == 10);
    CHECK(tb_send_more(pair[0], "head", 4) == 4);
    CHECK(tb_send_file(pair[0], file, 3, 4) == 4);
    CHECK(tb_send_file(pair[0], file, 10, 4) == 0);
    CHECK(tb_receive(pair[1], room, sizeof room) == 8);
    CHECK(memcmp(room, "head3456", 8) == 0);
    CHECK(lseek(file, 0, SEEK_CUR) == 10);
    known = tb_cached(file, 0, 10);
    CHECK(known == 10 || known == -EOPNOTSUPP);
    /* Beyond what 32 bits count. */
    CHECK(pwrite(file, "far", 3, (off_t)far) == 3);
    CHECK(tb_send_file(pair[0], file, far, 3) == 3);
    CHECK(tb_receive(pair[1], room, sizeof room) == 3);
    CHECK(memcmp(room, "far", 3) == 0);
    close_pair(pair);
    fclose(opened);
}

/* SIGPIPE would end the process; another thread's must not be taken. */
static void
a_broken_target_is_no_signal(void)
{
    FILE *opened = tmpfile();
    int pair[2], file = fileno(opened);
    sigset_t waiting;

    make_pair(SOCK_STREAM, pair);
    close(pair[1]);
    CHECK(write(file, "0123456789", 10) == 10);
    for (int i = 0; i < 20; i++)
        CHECK(tb_send_file(pair[0], file, 0, 10) == -EPIPE);
    CHECK(sigpending(&waiting) == 0 && !sigismember(&waiting, SIGPIPE));
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &waiting) == 0);
    CHECK(!sigismember(&waiting, SIGPIPE));
    close(pair[0]);
    fclose(opened);
}

static void
what_is_not_in_memory_is_no_error(void)
{
    static char page[8192];
    char name[] = "/tmp/triobatch-XXXXXX";
    int file = mkstemp(name);
    ssize_t cached;

    if (file < 0 || unlink(name) != 0 ||
        write(file, page, sizeof page) != (ssize_t)sizeof page ||
        fsync(file) != 0)
        exit(2);
    /* A file system in memory keeps it, and some cannot tell. */
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    cached = tb_cached(file, 0, sizeof page);
    CHECK((cached >= 0 && cached <= (ssize_t)sizeof page) ||
          cached == -EOPNOTSUPP);
    close(file);
}

/* What a connected socket is told of the datagram before, by the next call. */
static void
a_failure_that_does_not_come_again_is_passed(void)
{
    struct sockaddr_in here, gone;
    int closed = make_udp(&gone), sender = make_udp(&here);
    const uint32_t ones[2] = {1, 1};
    const uint16_t uncut[2] = {0, 0};
    unsigned char tries[TB_ERRORS] = {0};
    struct tb_outcomes outcomes;

    if (emulated) {
        close(closed);
        close(sender);
        return;
    }
    CHECK(connect(sender, (struct sockaddr *)&gone, sizeof gone) == 0);
    close(closed);
    CHECK(tb_send(sender, "x", 1) == 1);
    tries[ECONNREFUSED] = 2;
    CHECK(tb_send_past(sender, "a", 1, ones, uncut, 1, NULL, 0, NULL, 0, NULL,
                       0, NULL, 0, tries, &outcomes) == 1);
    CHECK(outcomes.calls == 2 && outcomes.passed == 1);
    CHECK(outcomes.stopped == 0 && outcomes.errors[0] == 0);
    close(sender);
}

static void
a_relay_waits_for_a_target_without_room(void)
{
    int from[2], to[2], ends[2];
    struct tb_relay relay = {.pipe_size = 65536};
    static char much[65536];

    make_pair(SOCK_STREAM, from);
    make_pair(SOCK_STREAM, to);
    if (pipe2(ends, O_NONBLOCK) != 0)
        exit(2);
    relay.pipe_out = ends[0];
    relay.pipe_in = ends[1];
    relay.source = from[1];
    relay.target = to[0];
    while (tb_send(to[0], much, sizeof much) > 0)
        ;
    while (tb_send(to[0], much, 1) > 0)
        ;
    CHECK(tb_send(from[0], "held", 4) == 4);
    CHECK(tb_relay(&relay, 1000) == TB_RELAY_WAIT_TARGET);
    CHECK(relay.held == 4 && relay.sent == 0);
    close_pair(from);
    close_pair(to);
    close_pair(ends);
}

static void
a_relay_moves_what_comes(void)
{
    int from[2], to[2], ends[2];
    struct tb_relay relay = {.pipe_size = 65536};
    char room[16];

    make_pair(SOCK_STREAM, from);
    make_pair(SOCK_STREAM, to);
    if (pipe2(ends, O_NONBLOCK) != 0)
        exit(2);
    relay.pipe_out = ends[0];
    relay.pipe_in = ends[1];
    relay.source = from[1];
    relay.target = to[0];
    CHECK(tb_relay(&relay, 1000) == TB_RELAY_WAIT_SOURCE);
    CHECK(tb_send(from[0], "moved", 5) == 5);
    close(from[0]);
    CHECK(tb_relay(&relay, 1000) == TB_RELAY_ENDED);
    CHECK(relay.sent == 5 && relay.held == 0);
    CHECK(tb_receive(to[1], room, sizeof room) == 5);
    CHECK(memcmp(room, "moved", 5) == 0);
    close(from[1]);
    close_pair(to);
    close_pair(ends);
}

void
check_all(int is_emulated, int counts[2])
{
    emulated = is_emulated;
    a_piece_is_sent_and_received();
    a_vector_goes_on_where_it_stopped();
    iovecs_are_filled_in_order();
    a_group_sends_and_receives_each_its_own();
    datagrams_keep_their_bounds();
    a_refused_datagram_keeps_nobody();
    segments_are_cut_by_the_kernel();
    a_part_of_a_file_is_sent();
    a_broken_target_is_no_signal();
    what_is_not_in_memory_is_no_error();
    a_failure_that_does_not_come_again_is_passed();
    a_relay_waits_for_a_target_without_room();
    a_relay_moves_what_comes();
    counts[0] = passed;
    counts[1] = failed;
}
