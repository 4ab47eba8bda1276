/* Lists of datagrams, to and from the memory that the core works on.
 *
 * Part of the extension that chunks.c describes: arithmetic, no system call.
 * Its twin is triobatch/_core/datagram_lists.py.
 */
#include "datagram_lists.h"

#include "core.h"

#include <string.h>

const char take_doc[]
    = "take($module, arena, addresses, limit, /)\n--\n\n"
      "Return (bytes, address) for up to limit datagrams of a struct tb_arena\n"
      "at an address, from where the last call stopped.\n\n"
      "Stops before a truncated one. Addresses come from a dict, by sockaddr.";

/* The sender of the datagrams at hand, looked up once for all that follow one
 * another.
 */
struct sender {
    const char *name;
    size_t size;
    PyObject *address;
};

static int
look_up(struct sender *sender, const struct tb_arena *arena, uint32_t slot,
        PyObject *addresses)
{
    const char *name = arena->names + slot * arena->name_size;
    size_t size = arena->name_sizes[slot];

    /* The kernel reports the size before it was cut (recvmsg(2)). */
    if (size > arena->name_size)
        size = arena->name_size;
    if (sender->address != NULL && size == sender->size
        && memcmp(name, sender->name, size) == 0)
        return 0;

    PyObject *key = PyBytes_FromStringAndSize(name, (Py_ssize_t)size);

    if (key == NULL)
        return -1;
    /* Not the dict's own function: an unknown name is decoded, in Python. */
    Py_XDECREF(sender->address);
    sender->address = PyObject_GetItem(addresses, key);
    Py_DECREF(key);
    sender->name = name;
    sender->size = size;
    return sender->address == NULL ? -1 : 0;
}

static int
append(PyObject *pairs, const char *payload, size_t size, PyObject *address)
{
    PyObject *data = PyBytes_FromStringAndSize(payload, (Py_ssize_t)size);
    PyObject *pair = data != NULL ? PyTuple_Pack(2, data, address) : NULL;
    int failed = pair == NULL || PyList_Append(pairs, pair) < 0;

    Py_XDECREF(pair);
    Py_XDECREF(data);
    return failed ? -1 : 0;
}

PyObject *
take(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "take() takes 3 arguments");
        return NULL;
    }

    const struct tb_arena *arena = PyLong_AsVoidPtr(arguments[0]);
    Py_ssize_t limit = PyLong_AsSsize_t(arguments[2]);

    if (PyErr_Occurred()) {
        /* All that there are, where the limit is past what lists hold. */
        if (arena == NULL || !PyErr_ExceptionMatches(PyExc_OverflowError))
            return NULL;
        PyErr_Clear();
        limit = PY_SSIZE_T_MAX;
    }

    PyObject *pairs = PyList_New(0);
    struct sender sender = { NULL, 0, NULL };
    /* What was handed out is noted at the end: after an error all of it is
     * still there.
     */
    struct tb_filling now = *arena->filling;

    if (pairs == NULL)
        return NULL;
    while (now.next < now.messages && limit > 0) {
        uint32_t size = arena->sizes[now.next];

        /* Not MSG_CTRUNC: see Inbox. */
        if (size > arena->slot_size || arena->flags[now.next] & MSG_TRUNC)
            break;
        if (look_up(&sender, arena, now.next, arguments[1]) < 0)
            goto failed;

        const char *payload = arena->memory + now.next * arena->slot_size;
        uint32_t segment_size = arena->segment_sizes[now.next];

        if (segment_size == 0)
            segment_size = size;
        do {
            uint32_t left = size - now.offset;
            uint32_t piece = left < segment_size ? left : segment_size;

            if (append(pairs, payload + now.offset, piece, sender.address) < 0)
                goto failed;
            now.offset += piece;
            limit--;
        } while (now.offset < size && limit > 0);
        if (now.offset < size)
            break;
        now.next++;
        now.offset = 0;
    }
    Py_XDECREF(sender.address);
    *arena->filling = now;
    return pairs;

failed:
    Py_XDECREF(sender.address);
    Py_DECREF(pairs);
    return NULL;
}
