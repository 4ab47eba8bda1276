"""The families of cases, in the order in which they run."""

from cases import datagrams, streams

FAMILIES = {
    family.name: family
    for family in (streams.FAMILY, datagrams.SEND, datagrams.RECEIVE)
}
