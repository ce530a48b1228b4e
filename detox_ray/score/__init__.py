"""Scoring: toxicity of completions by scorers, and likelihood of harmless text under models, as Ray Data jobs.

Light on import: Ray, torch, Detoxify and transformers are imported only where they are used.
"""

from detox_ray.score.catalogue import KNOWN, Entry, catalogue
from detox_ray.score.check import check
from detox_ray.score.job import VERSION, plan, score
from detox_ray.score.labelled import plan_labelled, score_labelled
from detox_ray.score.likelihood import likelihoods, plan_likelihoods
from detox_ray.score.registry import ResolvedScorer, load, resolve

__all__ = [
    "KNOWN",
    "VERSION",
    "Entry",
    "ResolvedScorer",
    "catalogue",
    "check",
    "likelihoods",
    "load",
    "plan",
    "plan_labelled",
    "plan_likelihoods",
    "resolve",
    "score",
    "score_labelled",
]
