"""What all benchmarks share; ``run.py`` is the program.

``families`` says what a benchmark consists of, ``contestants`` how the
processes are talked with, ``build`` makes C and Go programs of their sources,
``rounds`` measures, ``figures`` keeps what came of it, and computes;
``tables`` with ``writers``, and ``charts`` with ``svg``, show.
"""
