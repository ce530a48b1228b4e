"""The content of a report: everything that the page and ``results.json`` show, as plain values and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from detox_ray.cluster.explored_texts import ExplorerPrompt
from detox_ray.cluster.stage import Section
from detox_ray.cluster.timings import Timing
from detox_ray.gate import Verdict
from detox_ray.storage.metric_spec import Metrics


class TrainingLog(NamedTuple):
    """The log of one model's training, as its marker stores it."""

    model: str
    method: str
    steps: int  # that the training took
    planned_steps: int
    stopped: Literal["planned", "early"]
    best_step: int | None  # with the lowest validation loss; None without validation
    kept_step: int  # the step whose weights the model has
    log: Sequence[Mapping[str, float]]  # rows with a step and the logged quantities
    validation: Sequence[Mapping[str, float]]
    no_kl: str | None = None  # why the divergence from the parent was not measured


class PerplexityEvaluator(NamedTuple):
    """A model that measured the perplexity of completions."""

    name: str  # the scorer column of its rows
    model: str  # a model's name, hub id or folder
    kind: Literal["causal", "t5"]  # t5: as measured by Li et al. 2024


class ValidityRow(Protocol):
    """A scorer against a reference in one language, such as ``measure.Validity``. No value: the status says why."""

    @property
    def scorer(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def n_toxic(self) -> int: ...
    @property
    def auroc(self) -> float | None: ...
    @property
    def ci_low(self) -> float | None: ...
    @property
    def ci_high(self) -> float | None: ...
    @property
    def average_precision(self) -> float | None: ...
    @property
    def average_precision_low(self) -> float | None: ...
    @property
    def average_precision_high(self) -> float | None: ...
    @property
    def best_f1(self) -> float | None: ...
    @property
    def best_f1_low(self) -> float | None: ...
    @property
    def best_f1_high(self) -> float | None: ...
    @property
    def best_f1_threshold(self) -> float | None: ...
    @property
    def calibration_error(self) -> float | None: ...
    @property
    def calibration_error_low(self) -> float | None: ...
    @property
    def calibration_error_high(self) -> float | None: ...
    @property
    def spearman(self) -> float | None: ...
    @property
    def spearman_low(self) -> float | None: ...
    @property
    def spearman_high(self) -> float | None: ...
    @property
    def status(self) -> str: ...


class AgreementRow(Protocol):
    """Two scorers on the same completions in one language, such as ``measure.ScorerAgreement``."""

    @property
    def scorer(self) -> str: ...
    @property
    def other(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def spearman(self) -> float | None: ...
    @property
    def spearman_low(self) -> float | None: ...
    @property
    def spearman_high(self) -> float | None: ...
    @property
    def kappa(self) -> float | None: ...
    @property
    def kappa_low(self) -> float | None: ...
    @property
    def kappa_high(self) -> float | None: ...
    @property
    def status(self) -> str: ...


class CountRow(Protocol):
    """The number of completions with one status, by scorer, model and language, such as ``measure.StatusCount``."""

    @property
    def scorer(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def n(self) -> int: ...


def fields_of(row: object, kind: type) -> dict[str, Any]:
    """Return the values of a row under the names in its protocol, in that order."""
    return {name: getattr(row, name) for name, kept in vars(kind).items() if isinstance(kept, property)}


@dataclass(frozen=True)
class ReportContent:
    """The results of one experiment.

    The tables have the schemas METRICS and COMPARISONS of ``storage/tables.py``. Rows of a convention other than
    ``convention`` are shown separately, never in the headline or in figures.
    """

    experiment: str  # the experiment's name
    experiment_yaml: str  # with all defaults
    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    metrics: pa.Table
    comparisons: pa.Table
    described: Metrics  # descriptions of the metrics in both tables
    primary: str  # the scorer used in the headline and in figures
    convention: str  # as in the tables' column, with any changed switches
    confidence: float
    verdicts: Sequence[Verdict] = ()  # the gate's, one per compared pair that the report shows
    switches: Mapping[str, Any] = field(default_factory=dict)  # the convention's choices, by name
    interval: str = "percentile"  # kind of the intervals
    correction: str = "holm"  # of p-values, over the languages of one metric
    settings: Mapping[str, Any] = field(default_factory=dict)  # must be equal for two runs to be comparable
    revisions: Mapping[str, str] = field(default_factory=dict)  # scorer -> revision
    identities: Mapping[str, str] = field(default_factory=dict)  # scorer -> hash of everything that changes its values
    validity: Sequence[ValidityRow] = ()
    agreement: Sequence[AgreementRow] = ()
    counts: Sequence[CountRow] = ()
    evaluators: Sequence[PerplexityEvaluator] = ()  # models that measured the perplexity of completions
    diversity_units: str | None = None  # None: diversity was not measured
    identifier: str | None = None  # the language identifier; None: languages were not identified
    samples: Sequence[ExplorerPrompt] = ()
    timings: Sequence[Timing] = ()
    training: Sequence[TrainingLog] = ()  # one per trained model
    manifest: Mapping[str, Any] = field(default_factory=dict)  # versions, hardware, and what ran
    corpus_share: Mapping[str, float] | None = None  # language -> share of the pretraining text, if known
    skipped_rows: Mapping[str, int] = field(default_factory=dict)  # input -> rows left out by data.on_error: skip
    tuning_languages: Sequence[str] = ()  # languages of the pairs; the mean cost is also given without them
    toy_world: bool = False  # whether to say that toy17 is a model organism
    # label -> models that differ only in their seed. The tables also have rows of the label: the mean of its models
    seed_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # what a sweep varies: family -> model (or label of a seed group) -> field of its training -> value
    sweeps: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sections: Sequence[Section] = ()  # contributed by stages
