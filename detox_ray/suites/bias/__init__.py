"""Bias: which side of a stereotype a model finds likelier, and which answer it gives to a question about one.

An item has options with roles. A model gives each option a log-likelihood, which is stored as it is, so that another
way of counting (conventions.py) needs no model. From these and a convention come outcomes: sums per cluster, of which
the metrics are ratios.
"""

from detox_ray.suites.bias.bias_set import BiasItems, BiasSet

__all__ = ["BiasItems", "BiasSet"]
