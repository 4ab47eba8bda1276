/* Batches for many streams: from Python's lists to columns, and back.
 *
 * A part of the list extension (chunks.c says why there is one). A message is
 * bytes or a list of bytes. What is pointed to is kept in a list that is
 * handed back, because the caller's own may change while another thread runs.
 */
#include "chunks.h"

#include <stdint.h>
#include <sys/uio.h>

/* An address that was handed in as a number; NULL, with an error, if none. */
static void *
address_in(PyObject *number)
{
    void *address = PyLong_AsVoidPtr(number);

    if (address == NULL && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "an address must not be 0");
    return address;
}

/* How many pieces a message has, -1 if it is none. */
static Py_ssize_t
pieces_of(PyObject *message)
{
    if (is_bytes(message))
        return 1;
    /* Of a subclass another part of the program decides. */
    return Py_TYPE(message) == &PyList_Type ? PyList_Size(message) : -1;
}

static int
take_piece(PyObject *pieces, Py_ssize_t index, PyObject *piece,
           struct iovec *iovec)
{
    if (piece == NULL || !is_bytes(piece))
        return -1;
    iovec->iov_base = bytes_in(piece);
    iovec->iov_len = (size_t)Py_SIZE(piece);
    Py_INCREF(piece);
    /* Takes the reference, also where it fails. */
    return PyList_SetItem(pieces, index, piece);
}

/* Returns its pieces, of which there are no more than `most`, or -1. */
static Py_ssize_t
take_message(PyObject *pieces, Py_ssize_t start, Py_ssize_t most,
             PyObject *message, struct iovec *iovecs)
{
    Py_ssize_t count = pieces_of(message);

    if (count > most)
        return -1;
    if (is_bytes(message))
        return take_piece(pieces, start, message, iovecs + start) < 0 ? -1 : 1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (take_piece(pieces, start + i, PyList_GetItem(message, i),
                       iovecs + start + i) < 0)
            return -1;
    return count;
}

const char tb_flatten_doc[] =
    "flatten($module, messages, iovecs, counts, room, /)\n--\n\n"
    "Point iovecs to all pieces of a list of messages, and count each's.\n\n"
    "Returns the pieces, to be kept while they are pointed to; how many there\n"
    "are, if that is more than there is room for; or None, if one is not\n"
    "bytes or a list of bytes. In both cases nothing may be relied on.";

PyObject *
tb_flatten(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 4 || !PyList_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "flatten() takes a list, and 3 more");
        return NULL;
    }

    PyObject *messages = arguments[0];
    struct iovec *iovecs = address_in(arguments[1]);
    uint32_t *counts = iovecs ? address_in(arguments[2]) : NULL;
    Py_ssize_t room = counts ? PyLong_AsSsize_t(arguments[3]) : 0;
    Py_ssize_t total = 0, start = 0, taken = 0;

    if (counts == NULL || PyErr_Occurred())
        return NULL;

    Py_ssize_t message_count = PyList_Size(messages);

    for (Py_ssize_t i = 0; i < message_count; i++) {
        Py_ssize_t count = pieces_of(PyList_GetItem(messages, i));

        if (count < 0 || count > UINT32_MAX)
            return tb_none();
        total += count;
    }
    if (total > room)
        return PyLong_FromSsize_t(total);

    PyObject *pieces = PyList_New(total);

    if (pieces == NULL)
        return NULL;
    /* To make a list may have run the collector, and with it finalizers that
     * have changed what was counted. From here on none runs.
     */
    if (PyList_Size(messages) != message_count)
        message_count = 0;
    for (Py_ssize_t i = 0; i < message_count; i++) {
        Py_ssize_t count =
            take_message(pieces, start, total - start,
                         PyList_GetItem(messages, i), iovecs);

        if (count < 0)
            break;
        counts[i] = (uint32_t)count;
        start += count;
        taken++;
    }
    if (start == total && taken == PyList_Size(messages))
        return pieces;
    Py_DECREF(pieces);
    return PyErr_Occurred() ? NULL : tb_none();
}

const char tb_split_doc[] =
    "split($module, memory, sizes, count, /)\n--\n\n"
    "Return what lies in memory one behind the other, as a list of bytes.\n\n"
    "In the place of a size that is negative is that number.";

PyObject *
tb_split(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "split() takes 3 arguments");
        return NULL;
    }

    const char *memory = address_in(arguments[0]);
    const ssize_t *sizes = memory ? address_in(arguments[1]) : NULL;
    Py_ssize_t count = sizes ? PyLong_AsSsize_t(arguments[2]) : 0;

    if (sizes == NULL || PyErr_Occurred())
        return NULL;

    PyObject *parts = PyList_New(count);

    if (parts == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *part = sizes[i] < 0
                             ? PyLong_FromSsize_t(sizes[i])
                             : PyBytes_FromStringAndSize(memory, sizes[i]);

        if (part == NULL || PyList_SetItem(parts, i, part) < 0) {
            Py_DECREF(parts);
            return NULL;
        }
        if (sizes[i] > 0)
            memory += sizes[i];
    }
    return parts;
}
