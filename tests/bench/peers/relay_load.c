/* Both ends of a relay at the UDP port that is the argument.
 *
 * One socket greets the relay, which sends everything else on to that one. The
 * other sends blocks, each with one sendmmsg(2) of messages that the kernel
 * cuts up (UDP_SEGMENT); `window` of them are on their way all the time. An
 * operation is a block that came.
 */
#include <poll.h>

#include "udp.h"

#define SIZE 1200
#define LARGEST 65507
#define MOST (LARGEST / SIZE)
#define MAX_RUNS 64
#define SLOT_SIZE 65536
/* Milliseconds until what has not come is lost. */
#define PATIENCE 500

static char payload[LARGEST];
static char slot[SLOT_SIZE];

static void
send_block(int fd, uint64_t count)
{
    static char control[MAX_RUNS][SEGMENT_CONTROL_SIZE];
    struct mmsghdr messages[MAX_RUNS];
    struct iovec iovecs[MAX_RUNS];
    int runs = 0;

    memset(messages, 0, sizeof(messages));
    for (; count > 0 && runs < MAX_RUNS; runs++) {
        uint64_t run = count < MOST ? count : MOST;
        struct msghdr *header = &messages[runs].msg_hdr;

        iovecs[runs] = (struct iovec){payload, run * SIZE};
        header->msg_iov = &iovecs[runs];
        header->msg_iovlen = 1;
        if (run > 1)
            segment(header, control[runs], SIZE);
        count -= run;
    }
    for (int sent = 0; sent < runs;) {
        int done = sendmmsg(fd, messages + sent, (unsigned)(runs - sent), 0);

        if (done < 0)
            die("cannot send");
        sent += done;
    }
}

/* Receive a message; returns its datagrams, 0 if none comes. */
static uint64_t
receive(int fd, uint64_t *bytes)
{
    struct pollfd pollfd = {fd, POLLIN, 0};
    char control[64];
    struct iovec iovec = {slot, sizeof(slot)};
    struct msghdr header = {0};
    ssize_t size;
    size_t part;

    header.msg_iov = &iovec;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
    size = recvmsg(fd, &header, MSG_DONTWAIT);
    if (size < 0) {
        if (poll(&pollfd, 1, PATIENCE) <= 0)
            return 0;
        return receive(fd, bytes);
    }
    *bytes += (uint64_t)size;
    part = segment_size_of(&header);
    return part == 0 ? 1 : ((uint64_t)size + part - 1) / part;
}

int
main(int argc, char *argv[])
{
    int source = socket(AF_INET, SOCK_DGRAM, 0);
    int sink = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in relay = loopback(argc == 2 ? atoi(argv[1]) : 0);
    struct request asked;

    if (connect(source, (struct sockaddr *)&relay, sizeof(relay)) < 0)
        die("cannot connect");
    receive_buffer(sink, 16 << 20);
    coalesce(sink);
    if (sendto(sink, "", 1, 0, (struct sockaddr *)&relay, sizeof(relay)) < 0)
        die("cannot send");
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        uint64_t block = (uint64_t)number_option(&asked, "block", 864);
        uint64_t window = (uint64_t)number_option(&asked, "window", 4);
        uint64_t wanted = (uint64_t)asked.count * block;
        uint64_t sent = 0, arrived = 0, bytes = 0;
        struct stopwatch watch = start_watch();

        while (arrived < wanted) {
            uint64_t more;

            while (sent < wanted && sent < arrived + window * block) {
                send_block(source, block);
                sent += block;
            }
            more = receive(sink, &bytes);
            if (more == 0)
                break;
            arrived += more;
        }
        watch = read_watch(watch);
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"datagrams\": %lu, \"bytes\": %lu}\n",
               watch.seconds, watch.cpu, asked.count, arrived, bytes);
        fflush(stdout);
    }
    return 0;
}
