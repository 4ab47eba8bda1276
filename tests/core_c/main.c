/* The C core's test program.
 *
 * Given --emulated it leaves out what an emulator does not hand on: UDP_SEGMENT
 * and UDP_GRO, whose control messages qemu-user does not translate. Given
 * --threads it does all of it in several threads at once: for ThreadSanitizer,
 * which sees what they share.
 */
#include "core_test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 6, ROUNDS = 20 };

static void *
check_again(void *counts)
{
    for (int i = 0; i < ROUNDS; i++)
        check_all(0, counts);
    return NULL;
}

static void
check_in_threads(int all[2])
{
    pthread_t threads[THREADS];
    int counts[THREADS][2];

    all[0] = all[1] = 0;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, check_again, counts[i]) != 0)
            exit(2);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        all[0] += counts[i][0];
        all[1] += counts[i][1];
    }
}

int
main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    int counts[2];

    if (strcmp(how, "--threads") == 0)
        check_in_threads(counts);
    else
        check_all(strcmp(how, "--emulated") == 0, counts);
    printf("%d passed, %d failed\n", counts[0], counts[1]);
    return counts[1] != 0;
}
