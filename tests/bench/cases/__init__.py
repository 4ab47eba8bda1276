"""The families of cases, in the order in which they run."""

from cases import broadcast, growth, requests, senders, streams

FAMILIES = {
    family.name: family
    for family in (
        streams.FAMILY,
        growth.FAMILY,
        senders.FAMILY,
        broadcast.FAMILY,
        requests.FAMILY,
    )
}
