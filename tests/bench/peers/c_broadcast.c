/* One message to many connections, one after another: PORT. */
#include "driver.h"

#define CONNECTIONS 65536

static int fds[CONNECTIONS];

static void
measure(int control, long connections, const struct request *request)
{
    size_t size = (size_t)number_option(request, "size", 0);
    unsigned char *message = malloc(size);
    uint64_t header[4], arrived, wrong;
    struct stopwatch watch;

    for (size_t i = 0; i < size; i++)
        message[i] = (unsigned char)(i % 251);
    header[0] = htobe64(size);
    header[1] = htobe64((uint64_t)request->count);
    header[2] = htobe64((uint64_t)number_option(request, "verify", 0));
    header[3] = htobe64((uint64_t)connections);
    send_whole(control, header, sizeof(header));
    watch = start_watch();
    for (long i = 0; i < request->count; i++)
        for (long j = 0; j < connections; j++)
            send_whole(fds[j], message, size);
    arrived = receive_acknowledgement(control, &wrong);
    watch = read_watch(watch);
    printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
           "\"bytes\": %llu, \"wrong\": %llu}\n",
           watch.seconds, watch.cpu, request->count,
           (unsigned long long)arrived, (unsigned long long)wrong);
    fflush(stdout);
    free(message);
}

int
main(int argc, char *argv[])
{
    struct request request;
    int port = argc == 2 ? atoi(argv[1]) : 0;
    int control = connect_to(port);
    long count = 0;

    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&request)) {
        long wanted = number_option(&request, "connections", 1);

        while (count > wanted)
            close(fds[--count]);
        while (count < wanted)
            fds[count++] = connect_to(port);
        measure(control, count, &request);
    }
    return 0;
}
