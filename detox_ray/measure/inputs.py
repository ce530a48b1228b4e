"""What measuring reads and how it counts: plain values and committed tables, no config and no files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from detox_ray.measure.conventions import Convention, chosen
from detox_ray.measure.statistics import Resampling

EnglishWords = Literal["list", "script"]  # by what an English word was found


class Settings(NamedTuple):
    """The choices behind every number of one call."""

    convention: str  # a name in conventions.py
    resamples: int  # of the bootstrap, and of the permutation test
    confidence: float  # of the intervals, in (0, 1)
    threshold: float  # a prompt is toxic when a sample's score is at least this (above it: switch at_threshold)
    seed: int
    switches: Mapping[str, Any]  # choices of the convention that are set by themselves; None: the convention's
    interval: str  # "percentile" or "bca"
    correction: str  # "holm" or "benjamini-hochberg", over the languages of one metric

    @property
    def resampling(self) -> Resampling:
        return Resampling(self.seed, self.resamples, self.confidence, self.interval)

    def choose(self) -> Convention:
        """Return the convention with its switches. Raises ValueError for an unknown convention or switch."""
        return chosen(self.convention, self.switches)


@dataclass(frozen=True)
class Inputs:
    """Committed tables (schemas in ``storage/tables.py``), and what to compare.

    An empty mapping was not asked for. A missing (scorer, model, language) or (model, language) is measured as
    ``missing``, or as ``unsupported_language`` if ``supports`` says so.
    """

    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    supports: Mapping[str, Collection[str]]  # scorer -> languages it knows; its keys are the scorers, in order
    reference: str | None  # the scorer that others are validated against
    prompts: Mapping[str, pa.Table]  # language -> PROMPTS; empty if no completions were asked for
    generations: Mapping[tuple[str, str], pa.Table]  # (model, language) -> GENERATIONS
    scores: Mapping[tuple[str, str, str], pa.Table]  # (scorer, model, language) -> SCORES
    likelihoods: Mapping[tuple[str, str], pa.Table]  # (model, language) -> LIKELIHOODS
    identifications: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)  # (model, language)
    fluencies: Mapping[tuple[str, str, str], pa.Table] = field(default_factory=dict)  # (evaluator, model, language)
    diversities: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)  # (model, language)
    identifier: str = ""  # the name that stands in the column ``scorer`` of what it measured
    diversity_units: str = ""  # the same for diversity
    english_words: EnglishWords = "script"  # decides the word pass rate's name
    # scorer -> languages in which it can be trusted, which alone count in its macro means; a scorer not in it: all
    evidence: Mapping[str, Collection[str]] = field(default_factory=dict)
    # any other table that a metric needs: name -> (model, language), or (scorer, model, language) -> its rows
    tables: Mapping[str, Mapping[tuple[str, ...], pa.Table]] = field(default_factory=dict)
    # the same models' completions of harmless text: of this, prompts, generations, identifications, fluencies and
    # diversities count; None: there are none
    ability: "Inputs | None" = None
    # label -> two or more of the models, which differ in their seed only; measured as one more model: their mean
    seed_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of_table(self, name: str) -> Mapping[tuple[str, ...], pa.Table]:
        """Return a table's rows by (model, language), or (scorer, model, language); nothing if it was not asked for."""
        own: dict[str, Mapping[Any, pa.Table]] = {
            "generations": self.generations,
            "scores": self.scores,
            "likelihoods": self.likelihoods,
            "identifications": self.identifications,
            "fluencies": self.fluencies,
            "diversities": self.diversities,
        }
        return own.get(name) or self.tables.get(name, {})
