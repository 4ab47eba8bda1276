/* What the list extension does for datagrams; see datagram_lists.c. */
#ifndef TRIOBATCH_DATAGRAM_LISTS_H
#define TRIOBATCH_DATAGRAM_LISTS_H

#include "bytes_layout.h"

extern const char take_doc[];

PyObject *take(PyObject *module, PyObject *const *arguments,
               Py_ssize_t nargs);

#endif
