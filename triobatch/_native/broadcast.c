#include "core.h"

/* Each is tried whatever became of the one before: what a peer does must not
 * keep the others waiting.
 */
void
tb_broadcast(const int fds[], ssize_t results[], size_t count,
             const void *data, size_t size)
{
    for (size_t i = 0; i < count; i++)
        results[i] = tb_send(fds[i], data, size);
}
