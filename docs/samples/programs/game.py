"""A game server: it hears moves by UDP, and tells all players, each tick."""

from __future__ import annotations

import struct

import trio

import triobatch

TICK = 0.02  # seconds
IDLE = 5  # seconds until a player who says nothing is gone
MOVE = struct.Struct("!hh")
# Addresses can be forged, and the state of all has to fit into a datagram.
MOST_PLAYERS = 300


def clamped(place: int) -> int:
    """Return the nearest place within the field."""
    return max(-1000, min(1000, place))


class Player:
    def __init__(self) -> None:
        self.x = self.y = 0
        self.heard = trio.current_time()


class Game:
    def __init__(self, sock: triobatch.AbstractDatagramSocket) -> None:
        self._sock = sock
        self.players: dict[triobatch.Address, Player] = {}

    async def hear(self) -> None:
        async for batch in self._sock.batches():
            for payload, address in batch:
                self.move(payload, address)

    def move(self, payload: bytes, address: triobatch.Address) -> None:
        """Do what a player says; anybody can send anything."""
        if len(payload) != MOVE.size:
            return
        player = self.players.get(address)
        if player is None:
            if len(self.players) == MOST_PLAYERS:
                return
            player = self.players[address] = Player()
        dx, dy = MOVE.unpack(payload)
        player.x = clamped(player.x + dx)
        player.y = clamped(player.y + dy)
        player.heard = trio.current_time()

    async def tell(self) -> None:
        """Send the same to all: equal sizes, one call."""
        while True:
            await trio.sleep(TICK)
            now = trio.current_time()
            self.players = {
                address: player
                for address, player in self.players.items()
                if now - player.heard < IDLE
            }
            state = b"".join(
                MOVE.pack(player.x, player.y)
                for player in self.players.values()
            )
            # What is not sent within a tick is obsolete.
            with trio.move_on_after(TICK):
                await self._sock.send_batch(
                    [(state, address) for address in self.players],
                    errors="ignore",
                )


# Try it: two players.
async def main() -> None:
    server = await triobatch.open_udp_socket(local_address=("127.0.0.1", 0))
    where = server.local_address
    ann = await triobatch.open_udp_socket(remote_address=where)
    bob = await triobatch.open_udp_socket(remote_address=where)
    game = Game(server)
    async with server, ann, bob, trio.open_nursery() as nursery:
        nursery.start_soon(game.hear)
        nursery.start_soon(game.tell)
        await ann.send(MOVE.pack(1, 2))
        await ann.receive()
        await bob.send_many([MOVE.pack(5, 5), b"nonsense", MOVE.pack(5, 5)])
        state = b""
        while state != MOVE.pack(1, 2) + MOVE.pack(10, 10):
            state, _ = await ann.receive()
        print("ann sees", list(MOVE.iter_unpack(state)))
        nursery.cancel_scope.cancel()


trio.run(main)
