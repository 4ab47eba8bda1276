"""Run programs, each in a fork of a process that has imported what they do.

That is half a second less for each. A line of stdin is a program and where its
output goes, a line of stdout its exit status.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys

import trio.testing

import triobatch.testing

assert trio.testing, triobatch.testing

# What a shell has started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)

for line in sys.stdin:
    program, directory = line.rstrip("\n").split("\t")
    child = os.fork()
    if not child:
        break
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
else:
    sys.exit()

# A program that hangs is a status, and the next one has its turn.
signal.alarm(60)
os.chdir(directory)
for descriptor, name in enumerate([os.devnull, "stdout", "stderr"]):
    opened = os.open(name, os.O_RDWR | os.O_CREAT)
    os.dup2(opened, descriptor)
    os.close(opened)
sys.argv = [program]
runpy.run_path(program, run_name="__main__")
