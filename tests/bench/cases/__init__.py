"""The families of cases, in the order in which they run."""

from cases import (
    broadcast,
    datagram_servers,
    datagrams,
    files,
    growth,
    memory,
    quic,
    readers,
    relays,
    requests,
    senders,
    small_batches,
    stream_relays,
    streams,
)

FAMILIES = {
    family.name: family
    for family in (
        streams.FAMILY,
        growth.FAMILY,
        files.FAMILY,
        stream_relays.FAMILY,
        readers.FAMILY,
        senders.FAMILY,
        broadcast.FAMILY,
        *requests.FAMILIES,
        datagrams.SEND,
        datagrams.RECEIVE,
        small_batches.FAMILY,
        datagram_servers.ECHO,
        datagram_servers.DNS,
        quic.FAMILY,
        relays.FAMILY,
        memory.IDLE,
        memory.QUEUES,
    )
}
