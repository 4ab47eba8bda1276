"""What a gigabyte costs of the processors, on the side that is measured.

Of a family whose answers have ``cpu`` and ``bytes``. It tells more than time
where the other end is the slower one. What the kernel does for the other end
within a system call of the sender, as it does over loopback, is in it.
"""

from harness.families import Figure

CPU_A_GIGABYTE = Figure(
    "processor",
    "processor seconds a gigabyte",
    lambda answer: answer["cpu"] / answer["bytes"] * 1e9,
)
