"""What a report is made of: everything the page and ``results.json`` show, as plain values and committed tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import pyarrow as pa


class Completion(NamedTuple):
    """One completion in the sample section."""

    model: str
    text: str
    toxicity: float | None  # of the primary scorer; None unless status is ok
    status: str


class Sample(NamedTuple):
    """One prompt with a few completions of each model."""

    language: str
    prompt: str
    completions: Sequence[Completion]


class Timing(NamedTuple):
    """How long one stage took for one model."""

    stage: str
    model: str | None  # None for a stage that is not about one model
    seconds: float
    units: int  # committed in this run; 0 where all were there already
    rows: int
    rate: str  # in the stage's own words, for example "5,800 tokens/s"; may be empty


class ValidityRow(Protocol):
    """A scorer against a reference scorer in one language; ``measure.Validity`` is one."""

    @property
    def scorer(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def auroc(self) -> float | None: ...
    @property
    def ci_low(self) -> float | None: ...
    @property
    def ci_high(self) -> float | None: ...
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


@dataclass(frozen=True)
class ReportContent:
    """One experiment's results. Tables have the schemas METRICS and COMPARISONS of ``tables.py``."""

    experiment: str  # its name
    experiment_yaml: str  # resolved
    languages: Sequence[str]
    models: Sequence[str]
    compare: Sequence[tuple[str, str]]  # (model, parent)
    metrics: pa.Table
    comparisons: pa.Table
    primary: str  # the scorer of headline and figures
    convention: str
    confidence: float
    validity: Sequence[ValidityRow] = ()
    counts: Sequence[CountRow] = ()
    samples: Sequence[Sample] = ()
    timings: Sequence[Timing] = ()
    manifest: Mapping[str, Any] = field(default_factory=dict)  # versions, hardware, what really ran
    corpus_share: Mapping[str, float] | None = None  # language -> share of the pretraining text, where known
    skipped_rows: Mapping[str, int] = field(default_factory=dict)  # input -> rows left out by data.on_error: skip
    tuning_languages: Sequence[str] = ()  # of the pairs; told apart in the perplexity summary
    toy_world: bool = False  # say that toy17 is a model organism
    notes: Sequence[str] = ()
