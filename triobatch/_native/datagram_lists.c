/* Lists of datagrams to the memory that the core sends from.
 *
 * Part of the extension that chunks.c describes: arithmetic, no system call.
 * Its twin is triobatch/_core/datagram_batches_python.py.
 */
#include "chunks.h"

#include "core.h"

#include <string.h>

/* Of the stable ABI for ever, and what there is of it for memory in 3.10: a
 * Py_buffer came with 3.11. Its headers deprecate it, those of 3.13 leave it out.
 */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#pragma GCC diagnostic ignored "-Wredundant-decls"
extern int PyObject_AsReadBuffer(PyObject *, const void **, Py_ssize_t *);

const char tb_pack_doc[]
    = "pack($module, payloads, peer, limit, batch, /)\n--\n\n"
      "Copy payloads of one size, of which the last may be shorter, into the\n"
      "struct tb_batch at an address.\n\n"
      "Returns how many, or 0 if they are anything else, or too much.";

const char tb_pack_pairs_doc[]
    = "pack_pairs($module, pairs, address, peer, limit, batch, /)\n--\n\n"
      "Pack the payloads of (payload, address) pairs, all with that address.";

/* Whether two addresses are the same: at least where they are one object, or
 * tuples of str and int proper, whose comparison runs no Python code.
 */
static int
same_address(PyObject *one, PyObject *other)
{
    if (one == other)
        return 1;
    if (Py_TYPE(one) != &PyTuple_Type || Py_TYPE(other) != &PyTuple_Type)
        return 0;

    Py_ssize_t count = PyTuple_Size(one);

    if (PyTuple_Size(other) != count)
        return 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GetItem(one, i);
        PyTypeObject *type = Py_TYPE(item);

        if ((type != &PyUnicode_Type && type != &PyLong_Type)
            || Py_TYPE(PyTuple_GetItem(other, i)) != type
            || PyObject_RichCompareBool(item, PyTuple_GetItem(other, i), Py_EQ)
                   != 1)
            return 0;
    }
    return 1;
}

/* The payload of item i, or NULL, without an exception, if that is no pair
 * with `address`. With address NULL the item is the payload.
 */
static PyObject *
payload_at(PyObject *items, Py_ssize_t i, PyObject *address)
{
    PyObject *item = PyList_GetItem(items, i);

    if (address == NULL || item == NULL)
        return item;
    if (Py_TYPE(item) != &PyTuple_Type || PyTuple_Size(item) != 2
        || !same_address(PyTuple_GetItem(item, 1), address))
        return NULL;
    return PyTuple_GetItem(item, 0);
}

/* What a C-contiguous memoryview looks at; NULL, without an exception, if it is
 * another one, or released. The bytes are there as long as the GIL is held.
 */
static const char *
bytes_seen(PyObject *view, Py_ssize_t *size)
{
    const void *bytes;

    if (PyObject_AsReadBuffer(view, &bytes, size) == 0)
        return bytes;
    PyErr_Clear();
    return NULL;
}

/* Copy what fits into `room` bytes. Returns the payload's size, or -1, without
 * an exception, if it does not fit, or is of another type. None of these
 * three runs Python code.
 */
static Py_ssize_t
copy_payload(PyObject *payload, char *start, size_t room)
{
    const char *bytes;
    Py_ssize_t size;

    if (is_bytes(payload)) {
        bytes = bytes_in(payload);
        size = Py_SIZE(payload);
    } else if (Py_TYPE(payload) == &PyByteArray_Type) {
        bytes = PyByteArray_AsString(payload);
        size = PyByteArray_Size(payload);
    } else if (Py_TYPE(payload) == &PyMemoryView_Type) {
        if ((bytes = bytes_seen(payload, &size)) == NULL)
            return -1;
    } else {
        return -1;
    }
    if ((size_t)size > room)
        return -1;
    memcpy(start, bytes, (size_t)size);
    return size;
}

/* What gso.Limit.datagrams_a_run says, in bytes; 0 with an exception set. */
static size_t
run_size_of(PyObject *limit, size_t segment_size)
{
    size_t numbers[3];

    for (Py_ssize_t i = 0; i < 3; i++) {
        PyObject *number = PyTuple_GetItem(limit, i);

        numbers[i] = number != NULL ? PyLong_AsSize_t(number) : 0;
        if (PyErr_Occurred())
            return 0;
    }

    size_t count = numbers[1] / segment_size;

    if (count > numbers[0])
        count = numbers[0];
    if (count < 1 || segment_size > numbers[2])
        count = 1;
    return count * segment_size;
}

static PyObject *
pack_items(PyObject *items, PyObject *address, PyObject *peer, PyObject *limit,
           PyObject *batch_address)
{
    struct tb_batch *batch = PyLong_AsVoidPtr(batch_address);
    Py_ssize_t count = PyList_Size(items);
    size_t copied = 0, segment_size = 0;

    if (PyErr_Occurred())
        return NULL;
    if (!is_bytes(peer) || Py_SIZE(peer) > TB_NAME_SIZE)
        return PyErr_Format(PyExc_TypeError, "peer must be a sockaddr");
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *payload = payload_at(items, i, address);
        Py_ssize_t size = payload == NULL
                              ? -1
                              : copy_payload(payload, batch->memory + copied,
                                             batch->room - copied);

        if (i == 0 && size > 0 && size <= UINT16_MAX)
            segment_size = (size_t)size;
        if (size <= 0 || (size_t)size > segment_size
            || ((size_t)size < segment_size && i != count - 1)) {
            PyErr_Clear();
            return PyLong_FromLong(0);
        }
        copied += (size_t)size;
    }
    if (segment_size == 0) /* there were none */
        return PyLong_FromLong(0);

    size_t run_size = run_size_of(limit, segment_size);

    if (run_size == 0)
        return NULL;
    batch->size = copied;
    batch->count = (uint32_t)count;
    batch->segment_size = (uint16_t)segment_size;
    batch->run_size = run_size;
    batch->runs = 0;
    /* The last message is a run if more than one datagram is left for it. */
    if (run_size > segment_size)
        batch->runs = (uint32_t)(copied / run_size
                                 + (copied % run_size > segment_size));
    batch->name_size = (uint16_t)Py_SIZE(peer);
    memcpy(batch->name, bytes_in(peer), (size_t)Py_SIZE(peer));
    return PyLong_FromSsize_t(count);
}

PyObject *
tb_pack(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "pack() takes 4 arguments");
        return NULL;
    }
    return pack_items(arguments[0], NULL, arguments[1], arguments[2],
                      arguments[3]);
}

PyObject *
tb_pack_pairs(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "pack_pairs() takes 5 arguments");
        return NULL;
    }
    return pack_items(arguments[0], arguments[1], arguments[2], arguments[3],
                      arguments[4]);
}
