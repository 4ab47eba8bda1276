/* Batches of chunks, as fast as C can: WAY PORT.
 *
 *   writev   points at every chunk, 1024 at a time
 *   copy     copies them into one piece, and sends that
 */
#include "driver.h"

#include <sys/uio.h>

#define IOV_LIMIT 1024

struct batch {
    struct iovec *chunks;
    size_t count, size;
};

static struct batch
make_batch(const char *runs)
{
    struct batch batch = {NULL, 0, 0};
    size_t count, size, place = 0;
    int used;
    unsigned char *whole;

    for (const char *at = runs; sscanf(at, "%zux%zu%n", &count, &size, &used)
                                == 2;) {
        batch.chunks = realloc(batch.chunks, (batch.count + count)
                                                 * sizeof(struct iovec));
        for (size_t i = 0; i < count; i++)
            batch.chunks[batch.count++].iov_len = size;
        batch.size += count * size;
        at += used;
        if (*at != '+')
            break;
        at++;
    }
    for (size_t i = 0; i < batch.count; i++) {
        batch.chunks[i].iov_base = whole = malloc(batch.chunks[i].iov_len);
        for (size_t j = 0; j < batch.chunks[i].iov_len; j++)
            whole[j] = (unsigned char)(place++ % 251);
    }
    return batch;
}

static void
free_batch(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++)
        free(batch->chunks[i].iov_base);
    free(batch->chunks);
}

static void
send_pointing(int fd, const struct batch *batch, struct iovec *left)
{
    size_t count = batch->count;

    memcpy(left, batch->chunks, count * sizeof(*left));
    while (count) {
        ssize_t sent = writev(
            fd, left, (int)(count < IOV_LIMIT ? count : IOV_LIMIT));

        if (sent < 0)
            die("cannot send");
        while (count && (size_t)sent >= left->iov_len) {
            sent -= (ssize_t)left->iov_len;
            left++;
            count--;
        }
        if (sent) {
            left->iov_base = (char *)left->iov_base + sent;
            left->iov_len -= (size_t)sent;
        }
    }
}

static void
send_copied(int fd, const struct batch *batch, char *piece)
{
    char *end = piece;

    for (size_t i = 0; i < batch->count; i++) {
        memcpy(end, batch->chunks[i].iov_base, batch->chunks[i].iov_len);
        end += batch->chunks[i].iov_len;
    }
    send_whole(fd, piece, batch->size);
}

static void
measure(int fd, int copies, const struct request *request)
{
    struct batch batch = make_batch(option(request, "chunks"));
    struct iovec *left = malloc(batch.count * sizeof(*left));
    char *piece = malloc(batch.size);
    struct stopwatch watch;
    uint64_t arrived, wrong;

    send_header(fd, batch.size, (uint64_t)request->count,
                (uint64_t)number_option(request, "verify", 0));
    watch = start_watch();
    for (long i = 0; i < request->count; i++)
        if (copies)
            send_copied(fd, &batch, piece);
        else
            send_pointing(fd, &batch, left);
    arrived = receive_acknowledgement(fd, &wrong);
    watch = read_watch(watch);
    printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
           "\"bytes\": %llu, \"wrong\": %llu}\n",
           watch.seconds, watch.cpu, request->count,
           (unsigned long long)arrived, (unsigned long long)wrong);
    fflush(stdout);
    free(piece);
    free(left);
    free_batch(&batch);
}

int
main(int argc, char *argv[])
{
    struct request request;
    char name[64] = "";
    int fd = -1;

    if (argc != 3)
        return 2;
    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&request)) {
        if (strcmp(name, request.name) != 0) {
            close(fd);
            fd = connect_to(atoi(argv[2]));
            strcpy(name, request.name);
        }
        measure(fd, strcmp(argv[1], "copy") == 0, &request);
    }
    return 0;
}
