"""How the examples behave as programs: all of them, in the same situations."""

import contextlib
import os
import runpy
import signal
import socket
import subprocess
import sys

import pytest
from programs import EXAMPLES, command, run, started

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGINT and SIGPIPE"),
    pytest.mark.skipif(
        os.environ.get("TRIOBATCH_CORE") == "python",
        reason="the same on either core, and each run takes half a second",
    ),
    pytest.mark.slow,
]

LOCAL = "127.0.0.1:0"
# What is not found, without anybody being asked (RFC 6761, 6.4).
NOWHERE = "no.such.host.invalid"

# Each program, by what it is, with arguments that let it run.
SERVERS = {
    "cache_server.py": [LOCAL],
    "chat_server.py": [LOCAL],
    "dns_server.py": [LOCAL],
    "echo_server.py": [LOCAL],
    "file_server.py": [LOCAL],
    "tcp_proxy.py": [LOCAL, "127.0.0.1:9"],
    "udp_echo_server.py": [LOCAL],
    "udp_relay.py": [LOCAL, "127.0.0.1:9"],
    "udp_workers.py": [LOCAL, "--workers", "1"],
    "workers.py": [LOCAL, "--workers", "1"],
}
# They need no counterpart.
DEMONSTRATIONS = {
    "chat_client.py": ["--clients", "2", "--lines", "2"],
    "echo_client.py": [],
    "hello_batch.py": [],
    "hypercorn_app.py": [],
    "hypercorn_http3.py": [],
    "quic_echo.py": ["--size", "1"],
    "tls_echo.py": [],
    "udp_echo_client.py": ["--count", "100"],
    "websocket_broadcast.py": ["3"],
}
# How to be told where the server is: a port on this machine, and nobody
# answers there.
TCP_CLIENTS = {
    "chat_client.py": ["127.0.0.1:{}"],
    "echo_client.py": ["127.0.0.1:{}"],
    "httpx_client.py": ["http://127.0.0.1:{}/"],
}
UDP_CLIENTS = {
    "dns_client.py": ["127.0.0.1:{}"],
    "quic_echo.py": ["--ca", "{ca}", "--at", "127.0.0.1:{}"],
    "udp_echo_client.py": ["127.0.0.1:{}"],
}
CLIENTS = TCP_CLIENTS | UDP_CLIENTS
PROGRAMS = sorted(SERVERS | DEMONSTRATIONS | CLIENTS)
# They are imported, and no programs.
MODULES = {
    "dns_answers.py",
    "dns_zone.py",
    "quic_endpoint.py",
    "supervisor.py",
}
# What they need beside triobatch, by the name that it is installed by.
EXTRAS = [
    ("dns_client.py", "dns", "dnspython"),
    ("dns_server.py", "dns", "dnspython"),
    ("httpx_client.py", "httpx", "httpx"),
    ("hypercorn_app.py", "hypercorn", "hypercorn"),
    ("hypercorn_app.py", "httpx", "httpx"),
    ("hypercorn_app.py", "trustme", "trustme"),
    ("hypercorn_http3.py", "aioquic", "aioquic"),
    ("hypercorn_http3.py", "hypercorn", "hypercorn"),
    ("hypercorn_http3.py", "trustme", "trustme"),
    ("quic_echo.py", "aioquic", "aioquic"),
    ("quic_echo.py", "trustme", "trustme"),
    ("tls_echo.py", "trustme", "trustme"),
    ("websocket_broadcast.py", "trio_websocket", "trio_websocket"),
    ("websocket_broadcast.py", "trustme", "trustme"),
]
NEEDS = {
    name: {module for other, module, _ in EXTRAS if other == name}
    for name in PROGRAMS
}


def skip_without_extras(name):
    for module in NEEDS[name]:
        pytest.importorskip(module)


@pytest.fixture
def told(monkeypatch, capsys):
    """A function that runs an example in this process, for what is at once.

    It returns the exit status, and what was printed on both.
    """
    signals = [signal.SIGINT, signal.SIGPIPE, signal.SIGTERM]
    before = {number: signal.getsignal(number) for number in signals}
    monkeypatch.syspath_prepend(EXAMPLES)

    def run_here(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    yield run_here
    for number, handler in before.items():
        signal.signal(number, handler)


def check_one_line(errors):
    assert errors.count("\n") == 1, errors
    assert errors.endswith("\n")


def test_every_example_is_looked_at():
    found = {path.name for path in EXAMPLES.glob("*.py")}
    assert found == {*PROGRAMS} | MODULES


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_what_it_does(told, name):
    skip_without_extras(name)
    code, output, errors = told(name, "--help")
    assert (code, errors) == (0, "")
    assert output.startswith(f"usage: {name} [-h]")
    # Beside the usage and the options there is a sentence.
    assert "." in output.split("\n\n")[1]


@pytest.mark.parametrize("name", PROGRAMS)
def test_arguments_that_are_none_are_a_usage_error(told, name):
    skip_without_extras(name)
    bad = ["--at", "nonsense"] if name == "quic_echo.py" else ["nonsense"]
    code, output, errors = told(name, *bad)
    assert (code, output) == (2, "")
    assert errors.startswith(f"usage: {name} ")
    *_, last = errors.splitlines()
    assert last.startswith(f"{name}: error: ")
    assert "nonsense" in last


@pytest.mark.parametrize("name", [*SERVERS, *DEMONSTRATIONS])
def test_output_that_nobody_reads_ends_it_without_a_word(name):
    """As with ``| head -1``, and a reader that is gone at once."""
    skip_without_extras(name)
    reader, writer = os.pipe()
    os.close(reader)
    arguments = (SERVERS | DEMONSTRATIONS)[name]
    with subprocess.Popen(
        command(name, *arguments),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(writer)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert errors == ""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("name", SERVERS)
def test_ctrl_c_is_how_a_server_ends(name):
    skip_without_extras(name)
    with started(name, *SERVERS[name]) as server:
        while " at " not in server.stdout.readline():
            pass
        server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=60)
    assert errors == ""
    assert server.returncode == 0


@contextlib.contextmanager
def nobody_answers(name):
    """Yield a port, and a call that waits until somebody is there."""
    with contextlib.ExitStack() as stack:
        if name in TCP_CLIENTS:
            silent = stack.enter_context(socket.create_server(("", 0)))

            def wait():
                # It has to stay open: that it is closed would be an answer.
                stack.enter_context(silent.accept()[0])
        else:
            silent = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            silent.bind(("", 0))

            def wait():
                silent.recv(9)

        silent.settimeout(60)
        yield silent.getsockname()[1], wait


def client_arguments(name, port, tmp_path):
    skip_without_extras(name)
    certificate = tmp_path / "ca.pem"
    if "{ca}" in CLIENTS[name]:
        trustme = pytest.importorskip("trustme")
        trustme.CA().cert_pem.write_to_path(certificate)
    return [
        one.replace("{ca}", str(certificate)).replace("{}", str(port))
        for one in CLIENTS[name]
    ]


@pytest.mark.parametrize("name", CLIENTS)
def test_ctrl_c_ends_a_client_as_shells_have_it(name, tmp_path):
    with nobody_answers(name) as (port, wait):
        arguments = client_arguments(name, port, tmp_path)
        with started(name, *arguments) as client:
            wait()
            client.send_signal(signal.SIGINT)
            _, errors = client.communicate(timeout=60)
    assert client.returncode in (130, -signal.SIGINT)
    assert errors.strip() in ("", "interrupted")


@pytest.mark.parametrize("name", CLIENTS)
def test_an_unknown_host_is_one_line_and_status_1(name, tmp_path):
    arguments = [
        one.replace("127.0.0.1", NOWHERE)
        for one in client_arguments(name, 9, tmp_path)
    ]
    done = run(name, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert NOWHERE in done.stderr
    check_one_line(done.stderr)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_at_an_unknown_host_is_one_line_and_status_1(name):
    skip_without_extras(name)
    done = run(name, f"{NOWHERE}:9", *SERVERS[name][1:])
    assert done.returncode == 1
    assert NOWHERE in done.stderr
    check_one_line(done.stderr)


@pytest.mark.parametrize(("name", "module", "package"), EXTRAS)
def test_a_package_that_is_missing_is_one_line_and_status_1(
    name, module, package, tmp_path
):
    # In the place of the package, and found before it.
    (tmp_path / f"{module}.py").write_text(
        f'raise ModuleNotFoundError("No module named {module}", '
        f"name={module!r})"
    )
    done = subprocess.run(
        command(name, *SERVERS.get(name, ())),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    check_one_line(done.stderr)
    assert f"needs {package}" in done.stderr
    assert "pip install 'triobatch[examples]'" in done.stderr
