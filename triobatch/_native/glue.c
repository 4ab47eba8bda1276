/* Pasted by cffi at the top of the file that it generates. */
#include "core.h"
