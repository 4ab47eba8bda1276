/* Both ends of a relay of streams at the TCP port that is the argument.
 *
 * Two connections to the relay, which hands what comes by one on to the other.
 * In the case "bulk" a thread writes blocks into the first, and what comes out
 * of the second is counted. In the case "turns" one block goes there and back,
 * and then the next. An operation is a block, or one there and back. Byte i of
 * a block is i modulo 251, and looked at where verify is asked for.
 */
#include "driver.h"

#include <pthread.h>

#define LARGEST (1 << 20)

static unsigned char block[LARGEST], room[LARGEST];

struct writing {
    int fd;
    size_t size;
    long count;
};

static void *
write_blocks(void *argument)
{
    const struct writing *writing = argument;

    for (long i = 0; i < writing->count; i++)
        send_whole(writing->fd, block, writing->size);
    return NULL;
}

/* Read one block; returns the bytes of it that are wrong. */
static uint64_t
read_block(int fd, size_t size, long verify)
{
    uint64_t wrong = 0;

    if (recv(fd, room, size, MSG_WAITALL) != (ssize_t)size)
        die("the relay has lost something");
    for (size_t i = 0; verify && i < size; i++)
        wrong += room[i] != block[i];
    return wrong;
}

int
main(int argc, char *argv[])
{
    int port = argc == 2 ? atoi(argv[1]) : 0;
    int first = connect_to(port), second = connect_to(port);
    struct request asked;

    for (size_t i = 0; i < LARGEST; i++)
        block[i] = (unsigned char)(i % 251);
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        size_t size = (size_t)number_option(&asked, "block", 65536);
        long verify = number_option(&asked, "verify", 0);
        uint64_t wrong = 0, bytes = 0;
        struct writing writing = {first, size, asked.count};
        pthread_t thread;
        struct stopwatch watch;

        if (size > LARGEST)
            die("the block is too large");
        watch = start_watch();
        if (strcmp(asked.name, "turns") == 0) {
            for (long i = 0; i < asked.count; i++) {
                send_whole(first, block, size);
                wrong += read_block(second, size, verify);
                send_whole(second, room, size);
                wrong += read_block(first, size, verify);
                bytes += size;
            }
        } else {
            if (pthread_create(&thread, NULL, write_blocks, &writing) != 0)
                die("no thread");
            for (long i = 0; i < asked.count; i++) {
                wrong += read_block(second, size, verify);
                bytes += size;
            }
            pthread_join(thread, NULL);
        }
        watch = read_watch(watch);
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"bytes\": %lu, \"wrong\": %lu}\n",
               watch.seconds, watch.cpu, asked.count, (unsigned long)bytes,
               (unsigned long)wrong);
        fflush(stdout);
    }
    return 0;
}
