/* Lines of a stream, found by memchr(3) in what one recv(2) brings. */
#include "driver.h"

#define ROOM (64 * 1024)

int
main(int argc, char *argv[])
{
    static char room[2 * ROOM];
    int fd = connect_to(argc == 2 ? atoi(argv[1]) : 0);
    struct request asked;

    puts("{\"ready\": true}");
    fflush(stdout);
    while (next_request(&asked)) {
        uint64_t size = (uint64_t)number_option(&asked, "size", 64);
        uint64_t bytes = 0, have = 0;
        long lines = 0;
        struct stopwatch watch = start_watch();

        send_header(fd, size, (uint64_t)asked.count, 0);
        while (lines < asked.count) {
            ssize_t got = recv(fd, room + have, ROOM, 0);
            char *start = room, *end;

            if (got <= 0)
                die("the source is gone");
            have += (uint64_t)got;
            while ((end = memchr(start, '\n', have)) != NULL) {
                uint64_t line = (uint64_t)(end - start) + 1;

                lines++;
                bytes += line;
                have -= line;
                start = end + 1;
            }
            if (have > ROOM)
                die("the line is too long");
            memmove(room, start, have);
        }
        watch = read_watch(watch);
        printf("{\"seconds\": %.9f, \"cpu\": %.9f, \"count\": %ld, "
               "\"bytes\": %lu}\n",
               watch.seconds, watch.cpu, lines, (unsigned long)bytes);
        fflush(stdout);
    }
    return 0;
}
