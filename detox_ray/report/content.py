"""What a report is made of: everything the page and ``results.json`` show, as plain values and committed tables."""

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
    """The log of one model's training, as its marker keeps it."""

    model: str
    method: str
    steps: int  # taken
    planned_steps: int
    stopped: Literal["planned", "early"]
    best_step: int | None  # of the lowest validation loss; None without validation
    kept_step: int  # whose weights the model has
    log: Sequence[Mapping[str, float]]  # rows with step and what was logged
    validation: Sequence[Mapping[str, float]]
    no_kl: str | None = None  # why the divergence from the parent was not measured


class PerplexityEvaluator(NamedTuple):
    """A model that measured the perplexity of completions."""

    name: str  # the scorer column of its rows
    model: str  # a model's name, hub id or folder
    kind: Literal["causal", "t5"]  # t5: as Li et al. 2024 measured theirs


class ValidityRow(Protocol):
    """A scorer against a reference in one language; ``measure.Validity`` is one. No value: status says why."""

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
    """Two scorers on the same completions of one language; ``measure.ScorerAgreement`` is one."""

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
    """Completions of one scorer, model and language by status; ``measure.StatusCount`` is one."""

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
    """Return a row's values under the names of its protocol, in its order."""
    return {name: getattr(row, name) for name, kept in vars(kind).items() if isinstance(kept, property)}


@dataclass(frozen=True)
class ReportContent:
    """One experiment's results. Tables have the schemas METRICS and COMPARISONS of ``storage/tables.py``; their rows of
    another convention than ``convention`` are shown beside, never in headline or figures."""

    experiment: str  # its name
    experiment_yaml: str  # resolved
    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    metrics: pa.Table
    comparisons: pa.Table
    described: Metrics  # what the metrics of both tables are
    primary: str  # the scorer of headline and figures
    convention: str  # as in the tables' column, changed switches included
    confidence: float
    verdicts: Sequence[Verdict] = ()  # of the gate, one per compared pair that the report shows
    switches: Mapping[str, Any] = field(default_factory=dict)  # of the convention, resolved: name -> choice
    interval: str = "percentile"  # kind
    correction: str = "holm"  # over the languages of one metric
    settings: Mapping[str, Any] = field(default_factory=dict)  # what must be equal for two runs to be compared
    revisions: Mapping[str, str] = field(default_factory=dict)  # scorer -> revision
    identities: Mapping[str, str] = field(default_factory=dict)  # scorer -> hash of whatever changes its values
    validity: Sequence[ValidityRow] = ()
    agreement: Sequence[AgreementRow] = ()
    counts: Sequence[CountRow] = ()
    evaluators: Sequence[PerplexityEvaluator] = ()  # of completions' perplexity
    diversity_units: str | None = None  # None: diversity was not measured
    identifier: str | None = None  # of a completion's language; None: not measured
    samples: Sequence[ExplorerPrompt] = ()
    timings: Sequence[Timing] = ()
    training: Sequence[TrainingLog] = ()  # of the trained models
    manifest: Mapping[str, Any] = field(default_factory=dict)  # versions, hardware, what really ran
    corpus_share: Mapping[str, float] | None = None  # language -> share of the pretraining text, if known
    skipped_rows: Mapping[str, int] = field(default_factory=dict)  # input -> rows left out by data.on_error: skip
    tuning_languages: Sequence[str] = ()  # of the pairs; the cost is also summed up without them
    toy_world: bool = False  # say that toy17 is a model organism
    # label -> models that differ in their seed only; the tables hold rows of the label too, their mean
    seed_groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # family -> model (or label of a seed group) -> field of its training -> value: what a sweep varies
    sweeps: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    sections: Sequence[Section] = ()  # that stages contribute
