/* What the list extension does for datagrams; see datagram_lists.c. */
#ifndef TRIOBATCH_DATAGRAM_LISTS_H
#define TRIOBATCH_DATAGRAM_LISTS_H

#include "bytes_layout.h"

extern const char pack_doc[];
extern const char pack_pairs_doc[];
extern const char take_doc[];

PyObject *pack(PyObject *module, PyObject *const *arguments,
               Py_ssize_t nargs);
PyObject *pack_pairs(PyObject *module, PyObject *const *arguments,
                     Py_ssize_t nargs);

PyObject *take(PyObject *module, PyObject *const *arguments,
               Py_ssize_t nargs);

#endif
