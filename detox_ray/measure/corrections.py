"""Corrections of p-values for testing one metric in many languages. None stands for a missing test and stays None.

Holm's correction bounds the probability of any false finding by the level. Benjamini and Hochberg's bounds the expected
share of false findings among all findings, and finds more.
"""

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's step-down adjusted p-values (Holm 1979)."""
    tests = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, i) in enumerate(tests):
        running = max(running, min(1.0, p * (len(tests) - rank)))
        corrected[i] = running
    return corrected


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Return step-up adjusted p-values (Benjamini and Hochberg 1995).

    They are valid if the tests are independent or positively dependent.
    """
    tests = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    running = 1.0
    for rank, (p, i) in reversed(list(enumerate(tests, start=1))):
        running = min(running, p * len(tests) / rank)
        corrected[i] = running
    return corrected
