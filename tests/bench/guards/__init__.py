"""What ``guard.py`` looks at.

``operations``, with ``*_operations``, and ``public_calls``, with ``*_ways``,
say what is done, and what it may cost; ``system_calls``, ``frames``,
``allocations`` and ``ratios`` measure.
"""
