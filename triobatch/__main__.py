"""Print what triobatch can do here: ``python -m triobatch``."""

from triobatch import __version__, capabilities

print(f"triobatch {__version__}")
print(capabilities())
