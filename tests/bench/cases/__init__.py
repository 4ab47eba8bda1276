"""The families of cases, in the order in which they run."""

from cases import senders, streams

FAMILIES = {family.name: family for family in (streams.FAMILY, senders.FAMILY)}
