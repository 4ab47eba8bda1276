"""What ``guard.py`` looks at.

``operations`` says what is done, and what it may cost; ``system_calls``,
``allocations`` and ``ratios`` measure.
"""
