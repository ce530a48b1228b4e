"""The bias suite: models' preference for stereotyped sentences, and their answers to questions about stereotypes.

An item has options with roles. The log-likelihood of each option under each model is stored unchanged, so another
convention (conventions.py) can be applied without a model. Outcomes are computed from likelihoods by a convention: they
are sums per cluster, and the metrics are ratios of these sums.
"""

from detox_ray.suites.bias.bias_set import BiasItems, BiasSet

__all__ = ["BiasItems", "BiasSet"]
