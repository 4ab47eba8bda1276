"""Memory of the messages themselves: a ``deque`` of ``bytes``."""

from collections import deque

from measuring import requests
from memory_measuring import Growth, messages

kept = []
for request in requests():
    growth = Growth()
    kept.append(deque(messages(request)))
    growth.report(request.count)
