"""Scoring: what scorers say of completions and of human-labelled text, and how fluent, diverse and in which language
completions are. Every function that makes something returns a unit job (`detox_ray.cluster.unit_jobs`).

Light on import: Ray, torch, Detoxify and transformers are imported only where they are used.
"""

from detox_ray.score.catalogue import KNOWN, Entry, catalogue
from detox_ray.score.check import check, check_quality
from detox_ray.score.diversity import WORDS, diversity_job, plan_diversities, resolve_units
from detox_ray.score.fluency import fluency_job, plan_fluencies, resolve_evaluator
from detox_ray.score.identify import identification_job, plan_identifications
from detox_ray.score.job import job, plan, plan_labelled
from detox_ray.score.likelihood import likelihood_job, plan_likelihoods
from detox_ray.score.registry import ResolvedScorer, load, resolve

__all__ = [
    "KNOWN",
    "WORDS",
    "Entry",
    "ResolvedScorer",
    "catalogue",
    "check",
    "check_quality",
    "diversity_job",
    "fluency_job",
    "identification_job",
    "job",
    "likelihood_job",
    "load",
    "plan",
    "plan_diversities",
    "plan_fluencies",
    "plan_identifications",
    "plan_labelled",
    "plan_likelihoods",
    "resolve",
    "resolve_evaluator",
    "resolve_units",
]
