"""One scorer's values by text and language, from an archive, a file of scores, or a run.

    FOLDER             an archive of `detox-ray archive`
    FILE[:SCORER]      a Parquet file of `detox-ray score-file`
    RUN[:SCORER]       a run's folder or URI: its completions

SCORER may be left out if there is only one.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detox_ray.config import InputError
from detox_ray.data.fields import MISSING
from detox_ray.data.rows import PARQUET, DataError
from detox_ray.run import open_run
from detox_ray.run.run_folder import EXPERIMENT
from detox_ray.score import stored_scores
from detox_ray.score.stored_scores import ARCHIVE
from detox_ray.storage import Store
from detox_ray.storage.tables import GENERATIONS, OK, SCORES
from detox_ray.text_files.scored_file import scorers_of

TOXIC = ("1", "1.0", "true", "t", "yes", "y", "toxic")
HARMLESS = ("0", "0.0", "false", "f", "no", "n", "non-toxic", "nontoxic", "neutral", "harmless")


class ScoredText(NamedTuple):
    """A scorer's result for one text."""

    value: float
    cluster: str  # what belongs together: the prompt of a completion, else the text itself
    label: bool | None  # whether people call the text toxic; None: not known


class TextScores(NamedTuple):
    """Everything that one scorer gave a value, each text and language once."""

    source: str  # as the user wrote it
    scorer: str
    identity: str | None  # of the scorer; None if the source does not hold it
    by_text: dict[str, dict[str | None, ScoredText]]  # text -> language (None: any) -> score
    without_value: int  # texts with another status than "ok"


class _Place(NamedTuple):
    """The location of scores."""

    path: str
    scorer: str | None


def read_scores(source: str, attribute: str, label_column: str | None = None) -> TextScores:
    """Read the scores that a source names.

    Args:
        source: As above.
        attribute: Such as "toxicity".
        label_column: A column of a file of scores that says whether people call a text toxic.

    Raises:
        InputError: If there is no such source, scorer, attribute or column.
    """
    path, scorer = _place(source)
    if (Path(path) / ARCHIVE).is_file():
        return _archive(source, Path(path), attribute)
    if path.endswith(PARQUET):
        return _file(source, Path(path), scorer, attribute, label_column)
    if Store.at(path).exists(EXPERIMENT):
        return _run(source, path, scorer, attribute)
    rule = "must be an archive's folder, a Parquet file of `detox-ray score-file`, or a run; :SCORER may follow"
    raise InputError(f"{source}: {rule}")


def _place(source: str) -> _Place:
    """Split PATH:SCORER. A path that exists, or whose last part is a URI's, has no scorer."""
    path, colon, scorer = source.rpartition(":")
    if not colon or Path(source).exists() or "/" in scorer:
        return _Place(source, None)
    return _Place(path, scorer)


def _chosen(source: str, scorer: str | None, names: Sequence[str]) -> str:
    """Return the scorer that is meant. Raises InputError."""
    if scorer is None and len(names) == 1:
        return names[0]
    if scorer is None or scorer not in names:
        rule = f"give one of its scorers as :NAME ({', '.join(names)})"
        raise InputError(f"{source}: {rule}")
    return scorer


def _archive(source: str, path: Path, attribute: str) -> TextScores:
    try:
        stored = stored_scores.read(path, "archive")
    except DataError as error:
        raise InputError(str(error)) from None
    if attribute not in stored.attributes:
        raise InputError(f"{source}: has no attribute {attribute!r} (there are {', '.join(stored.attributes)})")
    by_text: dict[str, dict[str | None, ScoredText]] = {}
    without = 0
    for (language, text), result in stored.results.items():
        if isinstance(result, dict):
            by_text.setdefault(text, {})[language] = ScoredText(result[attribute], text, None)
        else:
            without += 1
    return TextScores(source, path.resolve().name, None, by_text, without)


def _file(source: str, path: Path, scorer: str | None, attribute: str, label_column: str | None) -> TextScores:
    facts = {scorer.name: scorer for scorer in scorers_of(path)}
    name = _chosen(source, scorer, list(facts))
    if attribute not in facts[name].attributes:
        raise InputError(f"{source}: {name} has no attribute {attribute!r}")
    columns = ["text", "language", f"{name}.{attribute}", f"{name}.status"]
    schema = pq.read_schema(path)
    labelled = label_column is not None and label_column in schema.names
    by_text: dict[str, dict[str | None, ScoredText]] = {}
    without = 0
    for batch in pq.ParquetFile(path).iter_batches(columns=[*columns, *([str(label_column)] if labelled else [])]):
        rows = zip(*(column.to_pylist() for column in _ordered(batch, columns, label_column, labelled)), strict=True)
        for text, language, value, status, label in rows:
            if status != OK or value is None:
                without += 1
                continue
            by_text.setdefault(text, {})[language] = ScoredText(value, text, _label(source, label_column, label))
    return TextScores(source, name, facts[name].identity, by_text, without)


def _ordered(
    batch: pa.RecordBatch, columns: Sequence[str], label_column: str | None, labelled: bool
) -> Iterator[pa.Array]:
    yield from (batch.column(name) for name in columns)
    yield batch.column(label_column) if labelled else pa.nulls(batch.num_rows)


def _label(source: str, column: str | None, value: Any) -> bool | None:
    text = "" if value is None else str(value).strip().lower()
    if text in MISSING:
        return None
    if text in TOXIC + HARMLESS:
        return text in TOXIC
    raise InputError(f"{source}: {column} must hold 0 or 1 (or true/false, yes/no, toxic/non-toxic)")


def _run(source: str, path: str, scorer: str | None, attribute: str) -> TextScores:
    run = open_run(path)
    experiment, store = run.experiment(), run.store
    name = _chosen(source, scorer, experiment.score.names)
    identity = run.results().get("identities", {}).get(name) if run.has_results else None
    generations = store.committed(GENERATIONS)
    by_text: dict[str, dict[str | None, ScoredText]] = {}
    without = 0
    for unit, key in store.committed(SCORES).items():
        if unit["scorer"] != name:
            continue
        language = unit["language"]
        texts_unit = GENERATIONS.unit(model=unit["model"], language=language, shard=unit.shard)
        if texts_unit not in generations:
            continue
        texts = store.read(texts_unit, generations[texts_unit])
        scores = store.read(unit, key)
        scores = scores.filter(pc.equal(scores["attribute"], attribute))
        values = {(row["prompt_id"], row["sample"]): row["value"] for row in scores.to_pylist() if row["status"] == OK}
        for row in texts.select(["prompt_id", "sample", "text"]).to_pylist():
            value = values.get((row["prompt_id"], row["sample"]))
            if value is None:
                without += 1
            else:
                by_text.setdefault(row["text"], {})[language] = ScoredText(value, row["prompt_id"], None)
    if not by_text:
        raise InputError(f"{source}: {name} has no values for {attribute!r} there: run `detox-ray score` first")
    return TextScores(source, name, identity, by_text, without)
