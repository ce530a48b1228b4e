"""Scoring: toxicity of completions by scorers, and likelihood of harmless text under models, as Ray Data jobs.

Light on import: Ray, torch, Detoxify and transformers are imported only where they are used.
"""

from detox_ray.score.job import VERSION, plan, score
from detox_ray.score.likelihood import likelihoods, plan_likelihoods
from detox_ray.score.registry import KNOWN, ResolvedScorer, check, load, resolve

__all__ = [
    "KNOWN",
    "VERSION",
    "ResolvedScorer",
    "check",
    "likelihoods",
    "load",
    "plan",
    "plan_likelihoods",
    "resolve",
    "score",
]
