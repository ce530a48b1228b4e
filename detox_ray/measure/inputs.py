"""The inputs and settings of measuring: plain values and committed tables, without config or files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from detox_ray.measure.conventions import Convention, chosen
from detox_ray.measure.statistics import Resampling

EnglishWords = Literal["list", "script"]  # how English words were found


class Settings(NamedTuple):
    """The choices behind every number of one call."""

    convention: str  # a name in conventions.py
    resamples: int  # of the bootstrap and of the permutation test
    confidence: float  # of the intervals, in (0, 1)
    threshold: float  # score from which a sample is toxic; the switch at_threshold decides whether it is included
    seed: int
    switches: Mapping[str, Any]  # choices that replace the convention's; None: the convention's
    interval: str  # "percentile" or "bca"
    correction: str  # "holm" or "benjamini-hochberg", over the languages of one metric

    @property
    def resampling(self) -> Resampling:
        return Resampling(self.seed, self.resamples, self.confidence, self.interval)

    def choose(self) -> Convention:
        """Return the convention with its switches. Raises ValueError if one of them is unknown."""
        return chosen(self.convention, self.switches)


@dataclass(frozen=True)
class Inputs:
    """Committed tables (schemas in ``storage/tables.py``), and what to compare.

    An empty mapping means that nothing was asked for. A missing (scorer, model, language) or (model, language) gets the
    status ``missing``, or ``unsupported_language`` if ``supports`` says so.
    """

    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    supports: Mapping[str, Collection[str]]  # scorer -> languages that it knows, for all scorers in order
    reference: str | None  # the scorer against which the others are validated
    prompts: Mapping[str, pa.Table]  # language -> PROMPTS; empty if no completions were asked for
    generations: Mapping[tuple[str, str], pa.Table]  # (model, language) -> GENERATIONS
    scores: Mapping[tuple[str, str, str], pa.Table]  # (scorer, model, language) -> SCORES
    likelihoods: Mapping[tuple[str, str], pa.Table]  # (model, language) -> LIKELIHOODS
    identifications: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)  # (model, language)
    fluencies: Mapping[tuple[str, str, str], pa.Table] = field(default_factory=dict)  # (evaluator, model, language)
    diversities: Mapping[tuple[str, str], pa.Table] = field(default_factory=dict)  # (model, language)
    identifier: str = ""  # value of the column ``scorer`` for language consistency
    diversity_units: str = ""  # value of the column ``scorer`` for diversity
    english_words: EnglishWords = "script"  # decides which word pass rate there is
    # scorer -> languages in which there is evidence for it; only these count in its macro means. Missing scorer: all
    evidence: Mapping[str, Collection[str]] = field(default_factory=dict)
    # name of any other table that a metric needs -> (model, language) or (scorer, model, language) -> rows
    tables: Mapping[str, Mapping[tuple[str, ...], pa.Table]] = field(default_factory=dict)
    # the same models' completions of harmless text. Only its prompts, generations, identifications, fluencies and
    # diversities are used; None: there are none
    ability: "Inputs | None" = None
    # label -> two or more models that differ only in their seed. Their mean is measured like another model
    seed_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def of_table(self, name: str) -> Mapping[tuple[str, ...], pa.Table]:
        """Return a table's rows by (model, language) or (scorer, model, language); empty if it was not asked for."""
        known: dict[str, Mapping[Any, pa.Table]] = {
            "generations": self.generations,
            "scores": self.scores,
            "likelihoods": self.likelihoods,
            "identifications": self.identifications,
            "fluencies": self.fluencies,
            "diversities": self.diversities,
        }
        return known.get(name) or self.tables.get(name, {})
