"""Rounding to decimals as Python's scripts do it, to the last digit. The two ways differ at ties: 0.7775, of which the
float is a little less, is 0.778 by scaling (777.5, half to even) and 0.777 by its decimal value.
"""

import numpy as np


def by_scaling(value: float, decimals: int) -> float:
    """Round as ``round`` and ``numpy.round`` do with a NumPy float."""
    return float(np.round(np.float64(value), decimals))


def by_decimal_value(value: float, decimals: int) -> float:
    """Round as ``round`` does with a Python float."""
    return round(float(value), decimals)
