/* A kernel whose answers come from a fuzzer's input.
 *
 * The core is compiled with its system calls renamed (`send` is fake_send, see
 * build.sh), and asks this one. It notes what it has taken, and can tell
 * whether what the core made of an answer is right.
 */
#ifndef TRIOBATCH_FUZZ_KERNEL_H
#define TRIOBATCH_FUZZ_KERNEL_H

#include "core.h"

#include <stdint.h>

enum { FD_COUNT = 64, MAX_ROUNDS = 64 };

/* Ends the run, as a sanitizer's report does. */
#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition))                                                     \
            failed(#condition, __FILE__, __LINE__);                           \
    } while (0)

/* For what looks at every byte: the fuzzer is not told of each, which makes it
 * many times as fast.
 */
#ifdef __clang__
#define UNSEEN __attribute__((no_sanitize("coverage")))
#else
#define UNSEEN
#endif

_Noreturn void failed(const char *condition, const char *file, int line);

/* What a descriptor has taken: bytes, or records of messages. */
struct sink {
    unsigned char *bytes;
    size_t size;
    size_t room;
};

struct kernel {
    /* What is left of the input. */
    const uint8_t *next;
    size_t left;

    struct sink sinks[FD_COUNT];
    /* Bytes given of each descriptor's endless stream: pattern(). */
    size_t given[FD_COUNT];
    int is_non_blocking[FD_COUNT];
    /* Whether recvmsg(2) brings a datagram, whose size may be past its room. */
    int has_datagrams;

    /* Since kernel_mark(): calls, without those that were interrupted, and
     * interruptions running.
     */
    size_t calls;
    size_t interruptions;
    /* The last answer: what was offered and taken, or the error. */
    size_t offered;
    long answer;
    int error;
    /* How often each of the first errors was answered. */
    size_t errors[256];

    size_t interruptions_to_come;

    /* splice(2): what the pipe has been given, and given away. */
    size_t piped;
    size_t unpiped;
};

extern struct kernel kernel;

/* What all inputs of this process have come to. `drawn` are bytes of inputs
 * that decided something, `moved` those that the core gave and was given.
 */
struct tally {
    unsigned long long inputs;
    unsigned long long drawn;
    unsigned long long moved;
};

extern struct tally tally;

void kernel_begin(const uint8_t *data, size_t size);
void kernel_end(void);
/* Look no further back than here. */
void kernel_mark(void);

/* From the input; zeros when it is at its end. */
uint8_t draw_byte(void);
size_t draw_below(size_t limit);
/* A number that is small most of the time, and sometimes enormous. */
size_t draw_size(void);

uint8_t pattern(size_t stream, size_t position);
/* New memory of exactly this size, with the pattern of a stream in it. */
unsigned char *patterned(size_t stream, size_t size);
/* Whether these bytes are those of the pattern from `start` on. */
int is_pattern(const void *bytes, size_t size, size_t stream, size_t start);

void sink_append(struct sink *sink, const void *bytes, size_t size);
/* What a message comes to in a sink: its sizes, and then its parts. */
void sink_message(struct sink *sink, const void *payload, size_t size,
                  const void *name, size_t name_size, const void *control,
                  size_t control_size);
void sink_free(struct sink *sink);
int same(const struct sink *one, const struct sink *other);

/* Whether `result` is what the last answer has to become. */
void check_result(ssize_t result);

/* Answer a call: by an error, or with how much of what is offered is taken,
 * which may be more.
 */
long kernel_fail(int error);
long kernel_answer(size_t offered, int restarts);

/* One family of entry points each. */
void fuzz_streams(void);
void fuzz_groups(void);
void fuzz_sending(void);
void fuzz_segments(void);
void fuzz_receiving(void);
void fuzz_splice(void);

#endif
