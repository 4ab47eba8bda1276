"""Ten greetings: once as one datagram, once as ten.

    python examples/hello_batch.py

The chunks of a ``Buffers`` are gathered into one datagram; the payloads of
``send_many`` are a datagram each. Either way it is one system call.
"""

import argparse
import signal

import trio

import triobatch


async def main() -> None:
    """Send both ways, and print what arrives."""
    greetings = [b"hello world: %d\n" % i for i in range(10)]
    async with (
        await triobatch.open_udp_socket(
            local_address=("127.0.0.1", 0)
        ) as receiver,
        await triobatch.open_udp_socket(
            remote_address=receiver.socket.getsockname()
        ) as sender,
    ):
        await sender.send(triobatch.Buffers(greetings))
        batch = await receiver.receive_batch()
        print(f"from Buffers: {len(batch)} datagram")
        print(batch[0][0].decode(), end="")

        await sender.send_many(greetings)
        batch = await receiver.receive_batch()
        print(f"from send_many: {len(batch)} datagrams")
        for payload, _ in batch:
            print(payload.decode(), end="")
        calls = sender.statistics().send_calls
        print(f"system calls to send them all: {calls}")


if __name__ == "__main__":
    argparse.ArgumentParser(description="Ten greetings.").parse_args()
    # Ctrl-C and `| head` end it without a traceback.
    for name in {"SIGINT", "SIGPIPE"} & {*dir(signal)}:
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    trio.run(main)
