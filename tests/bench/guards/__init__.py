"""What ``guard.py`` looks at.

``operations`` and ``public_calls`` say what is done, and what it may cost;
``system_calls``, ``frames``, ``allocations`` and ``ratios`` measure.
"""
