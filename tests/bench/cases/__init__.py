"""The families of cases, in the order in which they run."""

from cases import datagram_servers, datagrams, memory, senders, streams

FAMILIES = {
    family.name: family
    for family in (
        streams.FAMILY,
        senders.FAMILY,
        datagrams.SEND,
        datagrams.RECEIVE,
        datagram_servers.ECHO,
        datagram_servers.DNS,
        memory.IDLE,
        memory.QUEUES,
    )
}
