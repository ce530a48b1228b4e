"""Round to decimals exactly as Python scripts do.

The two ways differ at ties: 0.7775, whose float is slightly smaller, becomes 0.778 by scaling (777.5, half to even) and
0.777 by its decimal value.
"""

import numpy as np


def by_scaling(value: float, decimals: int) -> float:
    """Round as ``round`` and ``numpy.round`` do with a NumPy float."""
    return float(np.round(np.float64(value), decimals))


def by_decimal_value(value: float, decimals: int) -> float:
    """Round as ``round`` does with a Python float."""
    return round(float(value), decimals)
