/* What the sources of the list extension have in common (see chunks.c). */
#ifndef TRIOBATCH_CHUNKS_H
#define TRIOBATCH_CHUNKS_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000
#include <Python.h>

/* Where a bytes object keeps its bytes. The limited API has only functions
 * for this, and calling them is a third of what a small chunk costs (copying
 * 1024 x 64 B: 4.2 us with them, 2.8 without). So the module looks once, when
 * it is loaded, whether this is right; where it is not, it refuses to load.
 */
#define TB_BYTES_OFFSET (sizeof(PyVarObject) + sizeof(Py_hash_t))

/* Exactly: a subclass may have a size of its own. */
static inline int
is_bytes(PyObject *chunk)
{
    return Py_TYPE(chunk) == &PyBytes_Type;
}

static inline char *
bytes_in(PyObject *chunk)
{
    return (char *)chunk + TB_BYTES_OFFSET;
}

/* Not Py_RETURN_NONE: from Python 3.12 on its header takes None for immortal,
 * which it is not where the same wheel meets 3.10 or 3.11.
 */
static inline PyObject *
tb_none(void)
{
    Py_IncRef(Py_None);
    return Py_None;
}

/* take.c */
PyObject *tb_take(PyObject *module, PyObject *const *arguments,
                  Py_ssize_t nargs);
extern const char tb_take_doc[];
PyObject *tb_facts(PyObject *module, PyObject *const *arguments,
                   Py_ssize_t nargs);
extern const char tb_facts_doc[];
PyObject *tb_take_messages(PyObject *module, PyObject *const *arguments,
                           Py_ssize_t nargs);
extern const char tb_take_messages_doc[];

/* datagram_lists.c */
PyObject *tb_pack(PyObject *module, PyObject *const *arguments,
                  Py_ssize_t nargs);
extern const char tb_pack_doc[];
PyObject *tb_pack_pairs(PyObject *module, PyObject *const *arguments,
                        Py_ssize_t nargs);
extern const char tb_pack_pairs_doc[];

/* messages.c */
PyObject *tb_flatten(PyObject *module, PyObject *const *arguments,
                     Py_ssize_t nargs);
extern const char tb_flatten_doc[];
PyObject *tb_split(PyObject *module, PyObject *const *arguments,
                   Py_ssize_t nargs);
extern const char tb_split_doc[];

#endif
