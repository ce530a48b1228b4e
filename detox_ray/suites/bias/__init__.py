"""Bias: which side of a stereotype a model finds likelier, and which answer it gives to a question about one.

An item has options with roles. The log-likelihood of each option under each model is stored as it is, so that another
way of counting (conventions.py) needs no model. Outcomes follow from these and a convention: they are sums per cluster,
and the metrics are ratios of them.
"""

from detox_ray.suites.bias.bias_set import BiasItems, BiasSet

__all__ = ["BiasItems", "BiasSet"]
