"""A loopback of the benchmark's own, with a congestion control that is calm.

BBR paces: on loopback it settles on one of several rates, for as long as the
connection lasts, whoever sends. 64 x 4 KiB took 42 us a batch on some of
eight equal connections and 86 on the others. With CUBIC, the default of most
machines, all of them took 31 to 36. So where the machine has another default,
and this may be done, the run moves to a network namespace in which the route
to loopback asks for CUBIC (ip-route(8), congctl).
"""

from __future__ import annotations

import ctypes
import shutil
import socket
import subprocess

CLONE_NEWNET = 0x40000000
WANTED = "cubic"
# Name sizes are TCP_CA_NAME_MAX (include/net/tcp.h).
TCP_CA_NAME_MAX = 16
ROUTE = (
    "local 127.0.0.1 dev lo proto kernel scope host src 127.0.0.1 table local"
)
SETTING_UP = (
    "ip link set lo up",
    f"ip route change {ROUTE} congctl {WANTED}",
)


def congestion_control() -> str:
    """Return what a connection over loopback uses."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        name = connection.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_CONGESTION, TCP_CA_NAME_MAX
        )
    return name.rstrip(b"\0").decode()


def settle() -> str:
    """Move this process, with those it will start, if it may and must.

    Returns:
      The congestion control of this run, and where it comes from.
    """
    default = congestion_control()
    if default == WANTED:
        return f"{default}, this machine's default"
    if not _may_move() or ctypes.CDLL(None).unshare(CLONE_NEWNET):
        return f"{default}, this machine's default: figures may be bimodal"
    for command in SETTING_UP:
        subprocess.run(command.split(), check=True)
    return f"{congestion_control()}, in a network namespace of its own"


def _may_move() -> bool:
    """Try it in another process, as there is no way back."""
    if shutil.which("ip") is None or shutil.which("unshare") is None:
        return False
    trial = " && ".join(SETTING_UP)
    return not subprocess.run(
        ("unshare", "--net", "sh", "-c", trial),
        check=False,
        capture_output=True,
    ).returncode
