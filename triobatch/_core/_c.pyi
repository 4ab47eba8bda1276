from typing import Any

# The module that cffi generates; its declarations are _native/core.h.
ffi: Any
lib: Any
