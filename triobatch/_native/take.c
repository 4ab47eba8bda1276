/* What was received, as lists: pairs, and messages.
 *
 * Part of the extension that chunks.c describes: arithmetic, no system call.
 * Its twins are triobatch/_core/datagram_lists.py and
 * triobatch/_datagrams/message_inbox.py.
 */
#include "chunks.h"

#include "core.h"

#include <string.h>

const char tb_take_doc[]
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

/* What is said of the datagrams at hand, and what makes messages of them. */
struct said {
    PyObject *metadata_of;
    PyObject *stamp_header;
    int timestamps;
    const char *control;
    size_t size;
    Py_ssize_t payload_size;
    /* tuple.__new__, as Message has a function in Python: it copies `row`,
     * the one item of `arguments`, which is changed for each message.
     */
    newfunc make;
    PyTypeObject *type;
    PyObject *row;
    PyObject *arguments;
};

/* Where Message has its items (_wire/metadata.py). */
enum { PAYLOAD, ADDRESS, METADATA, TIMESTAMP, TRUNCATED, SIZE, ITEMS };

/* Takes `item` over, which may be NULL, after an error. */
static int
set(struct said *said, Py_ssize_t i, PyObject *item)
{
    return item != NULL ? PyTuple_SetItem(said->row, i, item) : -1;
}

/* Put the sender, the metadata and the timestamp of a slot into the row;
 * metadata are looked up once for all that follow one another.
 *
 * Returns 1, or 0 if only Python can.
 */
static int
look_into(struct said *said, const struct tb_arena *arena, uint32_t slot,
          PyObject *address)
{
    const char *control = arena->control + slot * arena->control_size;
    size_t size = arena->control_sizes[slot];
    size_t header_size = (size_t)Py_SIZE(said->stamp_header);
    long stamp[2]; /* struct timespec, as SO_TIMESTAMPNS has it */
    PyObject *timestamp = NULL;

    Py_IncRef(address);
    if (set(said, ADDRESS, address) < 0)
        return -1;
    if (size > arena->control_size)
        size = arena->control_size;
    if (size >= header_size + sizeof(stamp)
        && memcmp(control, bytes_in(said->stamp_header), header_size) == 0) {
        memcpy(stamp, control + header_size, sizeof(stamp));
        control += header_size + sizeof(stamp);
        size -= header_size + sizeof(stamp);
        if (said->timestamps) {
            timestamp = PyLong_FromLongLong(stamp[0] * 1000000000LL
                                            + stamp[1]);
            if (timestamp == NULL)
                return -1;
        }
    } else if (said->timestamps && size > 0) {
        return 0;
    }
    if (set(said, TIMESTAMP, timestamp != NULL ? timestamp : tb_none()) < 0)
        return -1;
    if (said->control != NULL && size == said->size
        && memcmp(control, said->control, size) == 0)
        return 1;

    PyObject *key = PyBytes_FromStringAndSize(control, (Py_ssize_t)size);

    if (key == NULL)
        return -1;

    /* Not the dict's own function: what is unknown is decoded, in Python. */
    PyObject *metadata = PyObject_GetItem(said->metadata_of, key);

    Py_DECREF(key);
    if (set(said, METADATA, metadata) < 0)
        return -1;
    said->control = control;
    said->size = size;
    return 1;
}

/* A copy of the row, with the payload; NULL after an error. */
static PyObject *
message(struct said *said, PyObject *data)
{
    Py_ssize_t size = data != NULL ? Py_SIZE(data) : 0;

    if (set(said, PAYLOAD, data) < 0)
        return NULL;
    /* Most are of one size. */
    if (size != said->payload_size) {
        if (set(said, SIZE, PyLong_FromSsize_t(size)) < 0)
            return NULL;
        said->payload_size = size;
    }
    return said->make(said->type, said->arguments, NULL);
}

static PyObject *
pair(PyObject *data, PyObject *address)
{
    PyObject *item = data != NULL ? PyTuple_Pack(2, data, address) : NULL;

    Py_XDECREF(data);
    return item;
}

/* Append a datagram, or, where something is said of it, a message. */
static int
append(PyObject *items, const char *payload, size_t size, PyObject *address,
       struct said *said)
{
    PyObject *data = PyBytes_FromStringAndSize(payload, (Py_ssize_t)size);
    PyObject *item = said != NULL ? message(said, data) : pair(data, address);
    int failed = item == NULL || PyList_Append(items, item) < 0;

    Py_XDECREF(item);
    return failed ? -1 : 0;
}

static PyObject *
take(PyObject *const *arguments, struct said *said)
{
    const struct tb_arena *arena = PyLong_AsVoidPtr(arguments[0]);
    Py_ssize_t limit = PyLong_AsSsize_t(arguments[2]);

    if (PyErr_Occurred()) {
        /* All that there are, where the limit is past what lists hold. */
        if (arena == NULL || !PyErr_ExceptionMatches(PyExc_OverflowError))
            return NULL;
        PyErr_Clear();
        limit = PY_SSIZE_T_MAX;
    }

    PyObject *items = PyList_New(0);
    struct sender sender = { NULL, 0, NULL };
    /* What was handed out is noted at the end: after an error all of it is
     * still there.
     */
    struct tb_filling now = *arena->filling;

    if (items == NULL)
        return NULL;
    while (now.next < now.messages && limit > 0) {
        uint32_t size = arena->sizes[now.next];
        int known = 1;

        /* Not MSG_CTRUNC: see Inbox. */
        if (size > arena->slot_size || arena->flags[now.next] & MSG_TRUNC)
            break;
        if (look_up(&sender, arena, now.next, arguments[1]) < 0
            || (said != NULL
                && (known = look_into(said, arena, now.next, sender.address))
                       < 0))
            goto failed;
        if (!known)
            break;

        const char *payload = arena->memory + now.next * arena->slot_size;
        uint32_t segment_size = arena->segment_sizes[now.next];

        if (segment_size == 0)
            segment_size = size;
        do {
            uint32_t left = size - now.offset;
            uint32_t piece = left < segment_size ? left : segment_size;

            if (append(items, payload + now.offset, piece, sender.address,
                       said) < 0)
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
    return items;

failed:
    Py_XDECREF(sender.address);
    Py_DECREF(items);
    return NULL;
}

PyObject *
tb_take(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 3) {
        PyErr_SetString(PyExc_TypeError, "take() takes 3 arguments");
        return NULL;
    }
    return take(arguments, NULL);
}

const char tb_take_messages_doc[]
    = "take_messages($module, arena, addresses, limit, metadata_of,\n"
      "              message_type, stamp_header, timestamps, /)\n--\n\n"
      "As take, but return messages. metadata_of is a dict, by control\n"
      "messages without the timestamp, which begins with stamp_header.\n\n"
      "Stops before what has no timestamp where these are wanted, too.";

PyObject *
tb_take_messages(PyObject *module, PyObject *const *arguments,
                 Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 7) {
        PyErr_SetString(PyExc_TypeError, "take_messages() takes 7 arguments");
        return NULL;
    }
    if (!PyType_Check(arguments[4])
        || !PyType_IsSubtype((PyTypeObject *)arguments[4], &PyTuple_Type)
        || !is_bytes(arguments[5]))
        return PyErr_Format(PyExc_TypeError,
                            "take_messages() takes a tuple type, and bytes");

    struct said said = {
        .metadata_of = arguments[3],
        .stamp_header = arguments[5],
        .timestamps = PyObject_IsTrue(arguments[6]),
        .payload_size = -1,
        .make = (newfunc)PyType_GetSlot(&PyTuple_Type, Py_tp_new),
        .type = (PyTypeObject *)arguments[4],
        .row = PyTuple_New(ITEMS),
    };
    PyObject *items = NULL;

    if (said.row != NULL && said.timestamps >= 0
        && (said.arguments = PyTuple_Pack(1, said.row)) != NULL) {
        /* Only `arguments` has it now, so that it can be changed. */
        Py_DECREF(said.row);
        PyTuple_SetItem(said.row, TRUNCATED, PyBool_FromLong(0));
        items = take(arguments, &said);
        Py_DECREF(said.arguments);
    } else {
        Py_XDECREF(said.row);
    }
    return items;
}

const char tb_facts_doc[]
    = "facts($module, arena, addresses, /)\n--\n\n"
      "Return (size, address, MSG_TRUNC or 0) for each message in a struct\n"
      "tb_arena at an address.";

PyObject *
tb_facts(PyObject *module, PyObject *const *arguments, Py_ssize_t nargs)
{
    (void)module;
    if (nargs != 2) {
        PyErr_SetString(PyExc_TypeError, "facts() takes 2 arguments");
        return NULL;
    }

    const struct tb_arena *arena = PyLong_AsVoidPtr(arguments[0]);

    if (PyErr_Occurred())
        return NULL;

    PyObject *rows = PyList_New(0);
    struct sender sender = { NULL, 0, NULL };
    int failed = rows == NULL;

    for (uint32_t i = 0; !failed && i < arena->filling->messages; i++) {
        if (look_up(&sender, arena, i, arguments[1]) < 0) {
            failed = 1;
            break;
        }

        PyObject *size = PyLong_FromUnsignedLong(arena->sizes[i]);
        PyObject *flags = PyLong_FromLong(arena->flags[i] & MSG_TRUNC);
        PyObject *row = size != NULL && flags != NULL
                            ? PyTuple_Pack(3, size, sender.address, flags)
                            : NULL;

        failed = row == NULL || PyList_Append(rows, row) < 0;
        Py_XDECREF(row);
        Py_XDECREF(flags);
        Py_XDECREF(size);
    }
    Py_XDECREF(sender.address);
    if (!failed)
        return rows;
    Py_XDECREF(rows);
    return NULL;
}
