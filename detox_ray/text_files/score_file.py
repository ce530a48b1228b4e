"""`detox-ray score-file`: any file of texts through any scorers, without an experiment.

The file is read once, row by row, into units of a work folder (score_tables.py): texts by language, as scorers want
them. Each scorer's view of such a unit is committed when it is made, as in a run, so that the same command goes on
after a kill. Then the output is written in the file's order, and the work folder is removed. Scores of models and
services stay in a cache beside it, by the texts' hashes, for the next file.

Units are made in this process, or by actors on a cluster if RAY_ADDRESS is set or actors are asked for.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from detox_ray.cluster.progress import Progress
from detox_ray.cluster.unit_jobs import Job, Task, UnitActors, run_jobs
from detox_ray.config import ConfigError, Problem, ScoreConfig
from detox_ray.score import ResolvedScorer, check, identifiers
from detox_ray.storage import Store, Unit, cache_folder, key_of
from detox_ray.storage.local_files import why_unwritable
from detox_ray.storage.lock import run_lock
from detox_ray.storage.tables import FAILED
from detox_ray.text_files import scored_file
from detox_ray.text_files.file_units import READ, read_file
from detox_ray.text_files.file_workers import FileDerivedWorker, FileScoringWorker
from detox_ray.text_files.score_tables import (
    FILE_ROWS,
    FILE_SCORES,
    FILE_TEXTS,
    attributes_of,
    blocks,
)
from detox_ray.text_files.scored_file import OutputFormat, ScorerFacts
from detox_ray.text_files.scorer_options import resolve_all
from detox_ray.text_files.text_rows import TextColumns, check_files

VERSION = 1  # raise it when what a unit holds changes

Identifier = Literal["py3langid", "lingua"]


class ScoreFileRequest(NamedTuple):
    """A request to score a file: input, scorers, output and options."""

    file: Path
    out: Path | None  # None: standard output
    format: OutputFormat
    config: ScoreConfig
    columns: TextColumns = TextColumns()
    identifier: Identifier = "py3langid"
    storage: str | None = None  # of work folders; None: this machine's cache
    actors: int | None = None  # processes on Ray; None: this process, or "auto" on a cluster


class ScoreFileOutcome(NamedTuple):
    """The counts of a finished call."""

    rows: int
    unreadable: int
    status_counts: dict[str, dict[str, int]]  # scorer -> status -> rows
    seconds: float
    notes: list[str]


def check_request(request: ScoreFileRequest) -> list[str]:
    """Check everything before anything is scored; return notes on how files were read. Raises ConfigError."""
    notes: list[str] = []
    problems = check_files([request.file])
    problems += [
        problem._replace(field=problem.field.replace("score.scorers", "--scorer"))
        for problem in check(request.config, notes.append)
    ]
    own = {"row", "text", "language", "language_identified", "reason"}
    problems += [
        Problem("--keep", name, "the output has a column of this name already; it need not be kept")
        for name in request.columns.keep
        if name in own
    ]
    if request.out is not None and (reason := why_unwritable(request.out)):
        problems.append(Problem("--out", str(request.out), f"cannot be written: {reason}"))
    storage = Store.at(_storage(request))
    if reason := storage.check_writable():
        problems.append(Problem("--storage", _storage(request), f"cannot be written: {reason}"))
    if problems:
        raise ConfigError(problems)
    return notes


def run(request: ScoreFileRequest, progress: Progress, on_ray: bool, verbose: bool = False) -> ScoreFileOutcome:
    """Score the file, and write the output.

    Args:
        request: What to do.
        progress: Where progress is shown.
        on_ray: Whether units are made by actors on Ray, rather than in this process.
        verbose: Whether the workers' logs are shown.

    Raises:
        ConfigError: The input is wrong; nothing was scored.
        ServiceDown, JobError: A scorer failed. What was committed before stays, and the same command goes on.
        Locked: The same command is running.
    """
    started = time.monotonic()
    notes = check_request(request)
    with request.file.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    read = key_of(
        version=VERSION,
        content=content,
        columns=list(request.columns),
        suffix=request.file.suffix,
        identifier=identifiers.revision(request.identifier, None),
    )
    store = Store(Store.at(_storage(request)).location.child(read).uri)
    with run_lock(store):
        scorers = resolve_all(request.config, store, progress)
        if not store.exists(READ):
            progress.say(f"reading {request.file}")
            read_file(request.file, request.columns, request.identifier, store, read)
        keys = _score(request, scorers, store, progress, on_ray, verbose)
        outcome = _write(request, scorers, keys, store, progress)
    store.fs.delete_dir(store.path())
    return outcome._replace(seconds=time.monotonic() - started, notes=notes)


def _storage(request: ScoreFileRequest) -> str:
    return (request.storage or str(cache_folder() / "score-file")).rstrip("/")


def _score(
    request: ScoreFileRequest,
    scorers: Sequence[ResolvedScorer],
    store: Store,
    progress: Progress,
    on_ray: bool,
    verbose: bool,
) -> dict[Unit, str]:
    """Make every scorer's units that are not committed, and return all with their keys."""
    texts = store.committed(FILE_TEXTS)
    keys: dict[Unit, str] = {}
    tasks: dict[str, list[Task]] = {}
    for scorer in scorers:
        for shard, text_key in texts.items():
            unit = _unit(scorer, shard)
            members = [_unit(member, shard) for member in scorer.members]
            inputs = [(member, keys[member]) for member in members] or [(shard, text_key)]
            # The name counts: it also tells the units' parts of the score cache apart.
            made_of = {source.name: key for source, key in inputs}
            keys[unit] = key_of(version=VERSION, unit=unit.name, scorer=scorer.key, inputs=made_of)
            tasks.setdefault(scorer.name, []).append(Task(unit, keys[unit], tuple(inputs)))
    committed = store.committed(FILE_SCORES)
    pending = {name: [task for task in own if committed.get(task.unit) != task.key] for name, own in tasks.items()}
    loaded = [_job(scorer, pending[scorer.name], request, store) for scorer in scorers if not scorer.members]
    derived = [_job(scorer, pending[scorer.name], request, store) for scorer in scorers if scorer.members]
    waves = [[job for job in wave if job.tasks] for wave in (loaded, *([job] for job in derived))]
    if any(waves):
        with _runner(on_ray, store, progress, verbose) as make:
            for wave in filter(None, waves):
                make(wave)
    return keys


def _unit(scorer: ResolvedScorer, texts: Unit) -> Unit:
    return FILE_SCORES.unit(scorer=scorer.name, language=texts["language"], shard=texts.shard)


def _job(scorer: ResolvedScorer, tasks: Sequence[Task], request: ScoreFileRequest, store: Store) -> Job:
    actors = request.actors or request.config.actors
    settings: dict[str, Any] = {"scorer": scorer, "store": store}
    if scorer.members:
        return Job(scorer.name, tasks, FileDerivedWorker, settings, "texts", actors, gpus=0)
    settings["batch_tokens"] = request.config.batch_tokens
    return Job(scorer.name, tasks, FileScoringWorker, settings, "texts", actors, int(scorer.model_based), scorer.alone)


class _MakeJobs(Protocol):
    def __call__(self, jobs: Sequence[Job]) -> None: ...


@contextmanager
def _runner(on_ray: bool, store: Store, progress: Progress, verbose: bool) -> Iterator[_MakeJobs]:
    """Yield a function that makes the units of some jobs."""
    if not on_ray:
        yield lambda jobs: _make_here(jobs, store, progress)
        return
    from detox_ray.cluster import connect

    with connect(verbose=verbose) as cluster, UnitActors() as actors:
        yield lambda jobs: run_jobs("score", jobs, store=store, cluster=cluster, progress=progress, actors=actors)


def _make_here(jobs: Sequence[Job], store: Store, progress: Progress) -> None:
    """Make units in this process, one scorer after another."""
    with progress.task("score", sum(len(job.tasks) for job in jobs)) as bar:
        for job in jobs:
            worker, begun, amount = job.worker(**job.settings), time.monotonic(), 0
            for task in job.tasks:
                product = worker.make(task)
                amount += product.amount
                store.commit(task.unit, task.key, product.rows, {**product.info, "amount": product.amount})
                bar.advance(1, f"{job.label}, {amount / max(time.monotonic() - begun, 1e-9):,.0f} {job.measure}/s")


def _write(
    request: ScoreFileRequest,
    scorers: Sequence[ResolvedScorer],
    keys: Mapping[Unit, str],
    store: Store,
    progress: Progress,
) -> ScoreFileOutcome:
    """Write the output, in the file's order."""
    rows = sorted(store.committed(FILE_ROWS).items())
    names = {scorer.name: attributes_of(store, keys, scorer.name) for scorer in scorers}
    facts = [
        ScorerFacts(
            scorer.name,
            scorer.identity,
            scorer.revision,
            names[scorer.name],
            None if scorer.languages is None else list(scorer.languages),
        )
        for scorer in scorers
    ]
    schema = scored_file.schema_of(request.columns.keep, facts)
    by_language: dict[tuple[str, str], list[tuple[Unit, str]]] = {}
    for unit, key in sorted(keys.items()):
        by_language.setdefault((unit["scorer"], unit["language"]), []).append((unit, key))
    counts: dict[str, Counter[str]] = {scorer.name: Counter() for scorer in scorers}
    written = unreadable = 0
    with (
        scored_file.output(request.out, request.format, schema) as writer,
        progress.task("write", len(rows), "blocks") as bar,
    ):
        for block in blocks(store, rows, by_language, names, FAILED):
            writer.write(scored_file.table_of(block, schema, request.columns.keep))
            for name, statuses in block.statuses.items():
                counts[name].update(statuses)
            written += len(block.rows)
            unreadable += sum(row["reason"] is not None for row in block.rows)
            bar.advance()
    return ScoreFileOutcome(written, unreadable, {name: dict(of) for name, of in counts.items()}, 0.0, [])
