/* The limit: datagrams in C.
 *
 *   c_datagrams send sendmmsg|gso PORT       to the sink at PORT
 *   c_datagrams receive recvmmsg|gro PORT    from the source at PORT
 *   c_datagrams echo recvmmsg|gro            a server
 *   c_datagrams relay gro                    a server, to where it first hears
 *                                            from
 *
 * The protocol is the harness's: a request a line, a JSON object a line back.
 */
#include "udp.h"

#define MAX_BATCH 1024
#define SLOT_SIZE 65536
#define TRAINS 64
#define LARGEST 65507
#define MAX_SEGMENTS 64
#define SIZE 1200

static char payloads[MAX_BATCH][2048];
static char joined[MAX_BATCH * SIZE];
static char slots[TRAINS][SLOT_SIZE];
static char control[MAX_BATCH][64];
static struct mmsghdr messages[MAX_BATCH];
static struct iovec iovecs[MAX_BATCH];
static struct sockaddr_in names[MAX_BATCH];

static void
send_messages(int fd, int count)
{
    for (int sent = 0; sent < count;) {
        int done = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);

        if (done < 0)
            die("cannot send");
        sent += done;
    }
}

/* Set up messages for what is in `joined`; returns how many there are. */
static int
plan_runs(int count)
{
    int most = LARGEST / SIZE, runs = 0;

    if (most > MAX_SEGMENTS)
        most = MAX_SEGMENTS;
    for (int start = 0; start < count; start += most, runs++) {
        int run = count - start < most ? count - start : most;
        struct msghdr *header = &messages[runs].msg_hdr;

        iovecs[runs].iov_base = joined + (size_t)start * SIZE;
        iovecs[runs].iov_len = (size_t)run * SIZE;
        header->msg_iov = &iovecs[runs];
        header->msg_iovlen = 1;
        segment(header, control[runs], SIZE);
    }
    return runs;
}

/* Faster than one iovec a payload, up to about 2 KiB each. */
static void
join(int count)
{
    for (int i = 0; i < count; i++)
        memcpy(joined + (size_t)i * SIZE, payloads[i], SIZE);
}

/* Prepare `messages` for a case; returns the batch, in datagrams. */
static int
plan(const struct request *asked, int gso, int port, int *offered)
{
    int count = (int)number_option(asked, "batch", 64);
    int many = strcmp(asked->name, "many") == 0;
    int mixed = strcmp(asked->name, "mixed") == 0;

    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].msg_hdr;

        memset(payloads[i], i & 255, sizeof(payloads[i]));
        iovecs[i].iov_base = payloads[i];
        iovecs[i].iov_len = mixed ? (size_t)(64 + i * 331 % 1400) : SIZE;
        header->msg_iov = &iovecs[i];
        header->msg_iovlen = 1;
        if (many) {
            names[i] = loopback(port);
            names[i].sin_addr.s_addr =
                htonl(INADDR_LOOPBACK + (uint32_t)i);
            header->msg_name = &names[i];
            header->msg_namelen = sizeof(names[i]);
        }
    }
    join(count);
    *offered = gso ? plan_runs(count) : count;
    return count;
}

static void
serve_sends(int gso, int port)
{
    int sink = connect_to(port);
    int connected = socket(AF_INET, SOCK_DGRAM, 0);
    int free_one = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in name = loopback(port);
    struct request asked;

    if (connect(connected, (struct sockaddr *)&name, sizeof(name)) < 0)
        die("cannot connect");
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        int offered, batch = plan(&asked, gso, port, &offered);
        int fd = strcmp(asked.name, "many") == 0 ? free_one : connected;
        /* A block is in one piece from the start. */
        int copies = gso && strcmp(asked.name, "segments") != 0;
        uint64_t sent = htobe64((uint64_t)asked.count * (uint64_t)batch);
        uint64_t arrived[3];
        struct stopwatch watch = start_watch();

        for (long i = 0; i < asked.count; i++) {
            if (copies)
                join(batch);
            send_messages(fd, offered);
        }
        send_whole(sink, &sent, sizeof(sent));
        if (recv(sink, arrived, sizeof(arrived), MSG_WAITALL)
            != sizeof(arrived))
            die("the sink did not answer");
        watch = read_watch(watch);
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"datagrams\": %lu, \"bytes\": %lu, \"wrong\": %lu}\n",
               watch.seconds, watch.cpu, asked.count, be64toh(arrived[0]),
               be64toh(arrived[1]), be64toh(arrived[2]));
        fflush(stdout);
    }
}

/* Offer `count` slots of `size` bytes, with room for the sender's name. */
static void
offer(int count, char *memory, size_t size)
{
    memset(messages, 0, sizeof(messages));
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &messages[i].msg_hdr;

        iovecs[i].iov_base = memory + (size_t)i * size;
        iovecs[i].iov_len = size;
        header->msg_iov = &iovecs[i];
        header->msg_iovlen = 1;
        header->msg_name = &names[i];
        header->msg_namelen = sizeof(names[i]);
        header->msg_control = control[i];
        header->msg_controllen = sizeof(control[i]);
    }
}

/* Receive up to `count` messages; returns how many there were. */
static int
receive(int fd, int count, int flags)
{
    for (int i = 0; i < count; i++) {
        messages[i].msg_hdr.msg_namelen = sizeof(names[i]);
        messages[i].msg_hdr.msg_controllen = sizeof(control[i]);
        iovecs[i].iov_len = iovecs[0].iov_len;
    }
    return recvmmsg(fd, messages, (unsigned)count, flags, NULL);
}

static uint64_t
datagrams_in(int received)
{
    uint64_t datagrams = 0;

    for (int i = 0; i < received; i++) {
        size_t size = messages[i].msg_len;
        size_t part = segment_size_of(&messages[i].msg_hdr);

        datagrams += part == 0 ? 1 : (size + part - 1) / part;
    }
    return datagrams;
}

/* Wait until the source says of so many blocks that they are sent. */
static void
confirm(int source, long blocks)
{
    char done[1];

    for (; blocks > 0; blocks--)
        if (recv(source, done, sizeof(done), 0) != 1)
            die("the source has gone");
}

static void
add_watch(struct stopwatch *spent, struct stopwatch started)
{
    struct stopwatch watch = read_watch(started);

    spent->seconds += watch.seconds;
    spent->cpu += watch.cpu;
}

static void
serve_receives(int gro, int port)
{
    int source = connect_to(port);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in name = loopback(0);
    struct request asked;

    bind_to(fd, &name);
    receive_buffer(fd, 8 << 20);
    if (gro)
        coalesce(fd);
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        int batch = (int)number_option(&asked, "batch", 64);
        uint64_t block = (uint64_t)number_option(&asked, "block", 864);
        uint64_t order[3] = {htobe64(ntohs(name.sin_port)), htobe64(block),
                             htobe64(SIZE)};
        int streaming = strncmp(asked.name, "stream", 6) == 0;
        uint64_t here = 0, bytes = 0;
        struct stopwatch watch = start_watch(), spent = {0, 0};

        if (gro)
            offer(batch = TRAINS, slots[0], SLOT_SIZE);
        else
            offer(batch, payloads[0], sizeof(payloads[0]));
        if (streaming)
            send_whole(source, order, sizeof(order));
        for (long i = 0; i < asked.count; i++) {
            /* See Receiving in datagram_measuring.py. */
            if (!streaming || i + 1 < asked.count)
                send_whole(source, order, sizeof(order));
            if (!streaming) {
                confirm(source, 1);
                watch = start_watch();
            }
            while (here < block) {
                int received = receive(fd, batch, MSG_WAITFORONE);

                here += datagrams_in(received);
                for (int j = 0; j < received; j++)
                    bytes += messages[j].msg_len;
            }
            here -= block;
            if (!streaming)
                add_watch(&spent, watch);
        }
        if (streaming) {
            add_watch(&spent, watch);
            confirm(source, asked.count);
        }
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"datagrams\": %lu, \"bytes\": %lu}\n",
               spent.seconds, spent.cpu, asked.count,
               block * (uint64_t)asked.count + here, bytes);
        fflush(stdout);
    }
}

static void
serve_echoes(int gro, int relays)
{
    struct sockaddr_in target = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in name = loopback(0);

    bind_to(fd, &name);
    receive_buffer(fd, 8 << 20);
    if (gro)
        coalesce(fd);
    offer(TRAINS, slots[0], SLOT_SIZE);
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    for (;;) {
        int received = receive(fd, TRAINS, MSG_WAITFORONE);

        if (relays && target.sin_port == 0) {
            target = names[0];
            continue;
        }
        for (int i = 0; i < received; i++) {
            struct msghdr *header = &messages[i].msg_hdr;
            size_t part = gro ? segment_size_of(header) : 0;

            if (relays)
                names[i] = target;
            iovecs[i].iov_len = messages[i].msg_len;
            header->msg_controllen = 0;
            if (part > 0 && part < messages[i].msg_len)
                segment(header, control[i], (uint16_t)part);
        }
        send_messages(fd, received);
        for (int i = 0; i < received; i++)
            messages[i].msg_hdr.msg_control = control[i];
        iovecs[0].iov_len = SLOT_SIZE;
    }
}

int
main(int argc, char *argv[])
{
    int offload = argc > 2 && argv[2][0] == 'g';

    if (argc == 4 && strcmp(argv[1], "send") == 0)
        serve_sends(offload, atoi(argv[3]));
    else if (argc == 4 && strcmp(argv[1], "receive") == 0)
        serve_receives(offload, atoi(argv[3]));
    else if (argc == 3 && strcmp(argv[1], "echo") == 0)
        serve_echoes(offload, 0);
    else if (argc == 3 && strcmp(argv[1], "relay") == 0)
        serve_echoes(offload, 1);
    else
        return 2;
    return 0;
}
