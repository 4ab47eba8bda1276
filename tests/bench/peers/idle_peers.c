/* Clients that connect, and then do nothing.
 *
 * Listens on a TCP port. Who connects there writes two numbers of eight bytes
 * in network order, a TCP port of 127.0.0.1 and a count, gets so many
 * connections at that port, and then one byte here. They stay open.
 */
#include <sys/resource.h>

#include "driver.h"

static void
raise_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int
main(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t size = sizeof(name);

    raise_limit();
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&name, size) < 0
        || getsockname(listener, (struct sockaddr *)&name, &size) < 0
        || listen(listener, 64) < 0)
        die("cannot listen");
    printf("{\"ready\": true, \"port\": %d}\n", ntohs(name.sin_port));
    fflush(stdout);
    /* A contestant connects for each of its turns. */
    for (;;) {
        int asker = accept(listener, NULL, NULL);
        uint64_t order[2];

        while (recv(asker, order, sizeof(order), MSG_WAITALL)
               == sizeof(order)) {
            for (uint64_t i = be64toh(order[1]); i > 0; i--)
                connect_to((int)be64toh(order[0]));
            send_whole(asker, "", 1);
        }
        close(asker);
    }
}
