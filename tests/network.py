"""Network namespaces of our own: hosts that are ours to break."""

import contextlib
import ctypes
import itertools
import os
import shutil
import socket
import subprocess
import threading

import pytest

CLONE_NEWNET = 0x40000000

_numbers = itertools.count()


def _may_make_namespaces():
    # Root is not enough: a container may lack CAP_SYS_ADMIN.
    if shutil.which("ip") is None:
        return False
    name = f"triobatch-{os.getpid()}-probe"
    made = subprocess.run(
        ("ip", "netns", "add", name), check=False, capture_output=True
    )
    if made.returncode:
        return False
    # Nor may one be entered where / is no mount point, as after chroot(2).
    entered = subprocess.run(
        ("ip", "netns", "exec", name, "ip", "link"),
        check=False,
        capture_output=True,
    )
    run("ip", "netns", "delete", name)
    return entered.returncode == 0


def needs_command(name):
    """Skip a test where a program is not installed."""
    return pytest.mark.skipif(
        shutil.which(name) is None, reason=f"{name} is not installed"
    )


class Namespace:
    """A network namespace whose loopback is up."""

    def __init__(self):
        self.name = f"triobatch-{os.getpid()}-{next(_numbers)}"
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")

    def run(self, *command):
        run("ip", "netns", "exec", self.name, *command)

    def output(self, *command):
        """Return what a command says in this namespace."""
        return subprocess.run(
            ("ip", "netns", "exec", self.name, *command),
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def socket(self, *arguments):
        """Return a socket that lives in this namespace."""
        # It stays where it was made.
        made = self.call(socket.socket, *arguments)
        made.setblocking(False)
        return made

    def interfaces(self):
        """Return the index and the name of each interface."""
        return self.call(socket.if_nameindex)

    def call(self, function, *arguments):
        """Return what a function does in this namespace."""
        results, errors = [], []

        def run_there():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{self.name}") as file:
                if libc.setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            try:
                results.append(function(*arguments))
            except Exception as error:  # noqa: BLE001 (raised again)
                errors.append(error)

        # A namespace is a thread's own.
        thread = threading.Thread(target=run_there)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


needs_namespaces = pytest.mark.skipif(
    not _may_make_namespaces(),
    reason="needs ip(8), and the right to make a network namespace",
)


@contextlib.contextmanager
def namespaces(count=1):
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            space = Namespace()
            stack.callback(run, "ip", "netns", "delete", space.name)
            made.append(space)
        yield made


@contextlib.contextmanager
def two_hosts():
    """Join two namespaces, 10.77.0.1 and 10.77.0.2, by a veth pair."""
    with namespaces(2) as (near, far):
        near.run(
            *("ip", "link", "add", "veth", "type", "veth"),
            *("peer", "name", "veth", "netns", far.name),
        )
        for space, host in ((near, "10.77.0.1"), (far, "10.77.0.2")):
            space.run("ip", "address", "add", f"{host}/24", "dev", "veth")
            space.run("ip", "link", "set", "veth", "up")
        yield near, far
