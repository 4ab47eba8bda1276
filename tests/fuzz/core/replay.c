/* Each line of the corpus once, without libFuzzer: under valgrind and gcov. */
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
digit(int character)
{
    if (character >= '0' && character <= '9')
        return character - '0';
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

int
main(void)
{
    static uint8_t data[65536];
    size_t size = 0;
    unsigned long inputs = 0;
    int high;

    while ((high = getchar()) != EOF) {
        if (high != '\n' && size < sizeof(data)) {
            data[size++] = (uint8_t)(digit(high) * 16 + digit(getchar()));
            continue;
        }
        LLVMFuzzerTestOneInput(data, size);
        size = 0;
        inputs++;
    }
    printf("%lu inputs replayed\n", inputs);
    return inputs == 0;
}
