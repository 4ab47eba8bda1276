/* Arithmetic over a list of chunks, at C speed.
 *
 * Why this is here, and why it is not in the core.  A batch of small chunks
 * costs its sender a loop over Python objects before the kernel hears of it:
 * are they all bytes, how many bytes is that, where does the n-th byte lie?
 * sum(map(len, chunks)) and set(map(type, chunks)) take 20 ns a chunk each,
 * which for 1024 chunks of 64 bytes is as much as the kernel takes to send
 * them; ffi.from_buffer() takes 105.  The functions here take 3 to 6.
 *
 * They need Python.h, which the core must not know (core.h), so they are an
 * extension of their own, on the limited API of Python 3.10, and optional: it
 * is missing on PyPy, on free-threaded builds (a list may change under
 * PyList_GetItem there) and on machines without a compiler. measure() and
 * locate() have twins in triobatch/_core/chunks.py, take() of datagram_lists.c
 * in datagram_lists.py beside it; for the others their callers go another way
 * (streams_c.py, groups_c.py, datagram_batches_c.py). What is about messages
 * is in messages.c. Nothing here makes a system call or keeps a reference.
 */
#include "chunks.h"

#include <string.h>
#include <sys/uio.h>

/* Bytes and one-dimensional memoryviews of bytes: for both the length is the
 * size. Returns -1 with an exception set for anything else that has none.
 */
static Py_ssize_t
size_of(PyObject *chunk)
{
    return is_bytes(chunk) ? Py_SIZE(chunk) : PyObject_Size(chunk);
}

static Py_ssize_t
count_of(PyObject *chunks)
{
    if (!PyList_Check(chunks)) {
        PyErr_SetString(PyExc_TypeError, "chunks must be a list");
        return -1;
    }
    return PyList_Size(chunks);
}

static int
lies_within(Py_ssize_t offset, Py_ssize_t size)
{
    if (offset <= size)
        return 1;
    PyErr_SetString(PyExc_ValueError, "offset lies past the end of its chunk");
    return 0;
}

/* What is left of a bytes object from offset on. */
static Py_ssize_t
rest_of(PyObject *chunk, Py_ssize_t offset, char **rest)
{
    if (!lies_within(offset, Py_SIZE(chunk)))
        return -1;
    *rest = bytes_in(chunk) + offset;
    return Py_SIZE(chunk) - offset;
}

/* Indices, offsets and sizes: none of them negative. */
static int
sizes_from(PyObject *const *arguments, Py_ssize_t count, Py_ssize_t *sizes)
{
    for (Py_ssize_t i = 0; i < count; i++) {
        sizes[i] = PyLong_AsSsize_t(arguments[i]);
        if (sizes[i] < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "negative argument");
            return -1;
        }
    }
    return 0;
}

PyDoc_STRVAR(measure_doc,
"measure($module, chunks, /)\n--\n\n"
"Return the bytes in a list of non-empty bytes, -1 if it holds other things.");

static PyObject *
measure(PyObject *module, PyObject *chunks)
{
    Py_ssize_t count = count_of(chunks);
    Py_ssize_t total = 0;

    (void)module;
    if (count < 0)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *chunk = PyList_GetItem(chunks, i);
        Py_ssize_t size;

        if (chunk == NULL)
            return NULL;
        if (!is_bytes(chunk) || (size = Py_SIZE(chunk)) == 0)
            return PyLong_FromLong(-1);
        if (size > PY_SSIZE_T_MAX - total)
            return PyErr_Format(PyExc_OverflowError,
                                "the chunks hold more than %zd bytes",
                                PY_SSIZE_T_MAX);
        total += size;
    }
    return PyLong_FromSsize_t(total);
}

PyDoc_STRVAR(locate_doc,
"locate($module, chunks, index, offset, size, /)\n--\n\n"
"Return the (index, offset) that lies size bytes after the given one.");

static PyObject *
locate(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    Py_ssize_t where[3];

    (void)module;
    if (nargs != 4) {
        PyErr_SetString(PyExc_TypeError, "locate() takes 4 arguments");
        return NULL;
    }
    if (sizes_from(arguments + 1, 3, where) < 0)
        return NULL;

    Py_ssize_t count = count_of(arguments[0]);
    Py_ssize_t index = where[0], offset = where[1], size = where[2];

    if (count < 0)
        return NULL;
    while (index < count) {
        PyObject *chunk = PyList_GetItem(arguments[0], index);
        Py_ssize_t left;

        if (chunk == NULL || (left = size_of(chunk)) < 0 ||
            !lies_within(offset, left))
            return NULL;
        left -= offset;
        if (size < left)
            return Py_BuildValue("nn", index, offset + size);
        size -= left;
        offset = 0;
        index++;
    }
    return Py_BuildValue("nn", index, (Py_ssize_t)0);
}

PyDoc_STRVAR(copy_doc,
"copy($module, chunks, index, offset, address, room, /)\n--\n\n"
"Copy chunks from the given position on, as many as there is room for.\n\n"
"Stops before a chunk that is not bytes, or does not fit whole. Returns the\n"
"bytes copied, and the index of that chunk.");

static PyObject *
copy(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    Py_ssize_t where[2], room;

    (void)module;
    if (nargs != 5) {
        PyErr_SetString(PyExc_TypeError, "copy() takes 5 arguments");
        return NULL;
    }
    if (sizes_from(arguments + 1, 2, where) < 0 ||
        sizes_from(arguments + 4, 1, &room) < 0)
        return NULL;

    Py_ssize_t count = count_of(arguments[0]);
    Py_ssize_t index = where[0], offset = where[1];
    char *start = PyLong_AsVoidPtr(arguments[3]);
    Py_ssize_t copied = 0;

    if (PyErr_Occurred())
        return NULL;
    for (; index < count; index++) {
        PyObject *chunk = PyList_GetItem(arguments[0], index);
        char *rest;
        Py_ssize_t size;

        if (chunk == NULL)
            return NULL;
        if (!is_bytes(chunk))
            break;
        if ((size = rest_of(chunk, offset, &rest)) < 0)
            return NULL;
        if (size > room - copied)
            break;
        memcpy(start + copied, rest, (size_t)size);
        copied += size;
        offset = 0;
    }
    return Py_BuildValue("nn", copied, index);
}

PyDoc_STRVAR(point_doc,
"point($module, chunks, offset, address, /)\n--\n\n"
"Point the iovecs at address to a list of bytes, one to one.\n\n"
"The first starts at offset. Returns False, with nothing to rely on at\n"
"address, if a chunk is not bytes.");

static PyObject *
point(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "point() takes 3 arguments");
        return NULL;
    }

    Py_ssize_t offset;

    if (sizes_from(arguments + 1, 1, &offset) < 0)
        return NULL;

    Py_ssize_t count = count_of(arguments[0]);
    struct iovec *iovecs = PyLong_AsVoidPtr(arguments[2]);

    if (PyErr_Occurred())
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *chunk = PyList_GetItem(arguments[0], i);
        char *rest;
        Py_ssize_t size;

        if (chunk == NULL)
            return NULL;
        if (!is_bytes(chunk))
            return PyBool_FromLong(0);
        if ((size = rest_of(chunk, offset, &rest)) < 0)
            return NULL;
        iovecs[i].iov_base = rest;
        iovecs[i].iov_len = (size_t)size;
        offset = 0;
    }
    return PyBool_FromLong(1);
}

static PyMethodDef methods[] = {
    {"measure", measure, METH_O, measure_doc},
    {"locate", (PyCFunction)(void (*)(void))locate, METH_FASTCALL, locate_doc},
    {"copy", (PyCFunction)(void (*)(void))copy, METH_FASTCALL, copy_doc},
    {"point", (PyCFunction)(void (*)(void))point, METH_FASTCALL, point_doc},
    {"pack", (PyCFunction)(void (*)(void))tb_pack, METH_FASTCALL, tb_pack_doc},
    {"pack_pairs", (PyCFunction)(void (*)(void))tb_pack_pairs, METH_FASTCALL,
     tb_pack_pairs_doc},
    {"take", (PyCFunction)(void (*)(void))tb_take, METH_FASTCALL, tb_take_doc},
    {"facts", (PyCFunction)(void (*)(void))tb_facts, METH_FASTCALL,
     tb_facts_doc},
    {"take_messages", (PyCFunction)(void (*)(void))tb_take_messages,
     METH_FASTCALL, tb_take_messages_doc},
    {"flatten", (PyCFunction)(void (*)(void))tb_flatten, METH_FASTCALL,
     tb_flatten_doc},
    {"split", (PyCFunction)(void (*)(void))tb_split, METH_FASTCALL,
     tb_split_doc},
    {NULL, NULL, 0, NULL},
};

/* Look whether bytes objects are what this file takes them for. */
static int
check_layout(PyObject *module)
{
    PyObject *sample = PyBytes_FromStringAndSize("sample", 6);

    (void)module;
    if (sample == NULL)
        return -1;

    int known = Py_SIZE(sample) == 6 &&
                PyBytes_AsString(sample) == bytes_in(sample);

    Py_DECREF(sample);
    if (known)
        return 0;
    PyErr_SetString(PyExc_ImportError,
                    "bytes objects have a layout of their own here");
    return -1;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, check_layout},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "triobatch._core._chunks_c",
    .m_doc = "Arithmetic over a list of chunks, at C speed.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__chunks_c(void);

PyMODINIT_FUNC
PyInit__chunks_c(void)
{
    return PyModuleDef_Init(&definition);
}
