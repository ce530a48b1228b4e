"""Scores that were computed elsewhere, looked up by text, and also by language if the file has one.

    perspective   the papers' JSON Lines: a file perspective_api_eval-{stem}.json per language, or a folder of them. The
                  language is what follows the last "_" of the name (zh-hans: zh), or the last "_" but one if that is
                  not a language (zh_CN). A line has "query", the scored text, and "response", the API's answer. If the
                  response is null or an error, Perspective did not score the text. All attributes are kept.
    table         CSV, JSON Lines or Parquet with `text`, `toxicity`, and optionally `language` and more `ATTRIBUTES`;
                  other columns are ignored. Empty, null and NaN mean that there is no score.
    archive       a folder that `detox-ray archive` wrote, with all attributes that it asked for

docs/papers.md, "Score files of Li et al.", describes the papers' JSON Lines. A language is a tag (`languages.read_tag`;
a note says that "pt-BR" was read as pt). Scores in languages that this project does not know are left out, and a note
counts them. A file is rejected if it has no others, or if a language is not a tag.

The papers sent " " for an empty completion, so the scores of "" and " " stand for each other. A text may occur more
than once if its scores agree, because re-runs append to files, and models repeat themselves.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from detox_ray.config import Problem
from detox_ray.config.languages import LANGUAGES, is_tag, read_tag, tags_note, unknown_rule
from detox_ray.data.fields import MISSING, RowError, displayed, json_type, value_of
from detox_ray.data.record_files import format_note, records
from detox_ray.data.rows import FILE_ENDINGS, SHOWN_FLAWS, Columns, DataError, Flaw, Record
from detox_ray.score.scorers import Failure, Scores
from detox_ray.storage.tables import OK

Format = Literal["table", "perspective", "archive"]

TOXICITY = "toxicity"
ATTRIBUTES = (  # Perspective's attributes, and Detoxify's other names for them
    TOXICITY,
    "severe_toxicity",
    "identity_attack",
    "insult",
    "profanity",
    "threat",
    "sexually_explicit",
    "obscene",
)
PERSPECTIVE_FILE = re.compile(r"perspective_api_eval-(?P<stem>.*)\.json")
ARCHIVE, ARCHIVE_ANSWERS = "archive.json", "answers"  # an archive's settings, and the folder of its Parquet parts
SAME = 1e-6  # largest difference between scores of the same text


class StoredScores(NamedTuple):
    """The scores of one or more files."""

    attributes: tuple[str, ...]
    languages: tuple[str, ...] | None  # known languages that have scores; None: some rows name no language
    results: dict[tuple[str | None, str], Scores | Failure]  # by (language, text)
    notes: tuple[str, ...]  # remarks on how the files were read


class StoredScorer:
    """A scorer that looks scores up in memory. Raises DataError as `read` does."""

    device = "stored"

    def __init__(self, name: str, path: Path, format: Format):
        self.name = name
        self._stored = read(path, format)
        self.attributes = self._stored.attributes

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        return [self._score(text, language) for text in texts]

    def _score(self, text: str, language: str) -> Scores | Failure:
        for same in (text, *({"", " "} - {text} if text in ("", " ") else ())):
            for key in ((language, same), (None, same)):
                if key in self._stored.results:
                    return self._stored.results[key]
        return Failure("no stored score")


def files(path: Path, format: Format) -> list[Path]:
    """Return the files to read. Raises DataError if there are none."""
    if format == "perspective":
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file for file in inside if PERSPECTIVE_FILE.fullmatch(file.name) and file.is_file()]
        if not found:
            rule = "must be a file perspective_api_eval-….json, or a folder that holds such files"
            raise DataError([Flaw(str(path), rule)])
        return found
    if format == "archive":
        folder = path / ARCHIVE_ANSWERS
        found = sorted((folder if folder.is_dir() else path).glob("*.parquet"))  # a copy in a run has no inner folder
        if not found:
            raise DataError([Flaw(str(path), "must be a folder with answers that `detox-ray archive` wrote")])
        return found
    if path.suffix not in FILE_ENDINGS:
        rule = f"must be CSV, JSON Lines or Parquet, so end in {' '.join(FILE_ENDINGS)}"
        raise DataError([Flaw(str(path), rule)])
    if not path.is_file():
        raise DataError([Flaw(str(path), "must be an existing file")])
    return [path]


def check(path: Path, format: Format, say: Callable[[str], None] = lambda note: None) -> list[Problem]:
    """Read all files and return at most `SHOWN_FLAWS` problems. ``say`` is called with notes on how they were read."""
    try:
        for note in read(path, format).notes:
            say(note)
    except DataError as error:
        return [Problem("path", flaw.where, flaw.reason) for flaw in error.flaws[:SHOWN_FLAWS]]
    return []


def read(path: Path, format: Format) -> StoredScores:
    """Read all scores. Raises DataError, which lists every bad row by file and line."""
    reading = _Reading()
    for file in files(path, format):
        if format == "perspective":
            reading.take(file, records(file), partial(_answered, _tag_of(file)))
        elif format == "archive":
            reading.take(file, _archived_records(file), _archived)
        else:
            columns = Columns(file, ("text", TOXICITY))
            reading.take(file, records(file), partial(_tabled, columns))
            columns.check()
            reading.notes += filter(None, (format_note(file), columns.language_note("any language")))
    return reading.done(path)


class _Row(NamedTuple):
    tag: str | None  # the language, as written
    text: str
    scores: dict[str, float | None]  # attribute -> score, or None if it has none; empty: there are no scores at all
    reason: str  # why there are no scores


class _Reading:
    """The rows and flaws of all files that were read so far."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str | None, str], tuple[_Row, str]] = {}  # each row with its place
        self._flaws: list[Flaw] = []
        self._tags: Counter[str] = Counter()
        self.notes: list[str] = []

    def take(self, file: Path, found: Iterator[Record], build: Callable[[dict[str, Any]], _Row]) -> None:
        for record in found:
            place = f"{file}:{record.line}"
            try:
                self._add(build(record.fields()), place)
            except RowError as error:
                self._flaws.append(Flaw(place, str(error)))

    def _add(self, row: _Row, place: str) -> None:
        language = None
        if row.tag is not None:
            if not is_tag(row.tag):
                raise RowError(f"language: {unknown_rule(row.tag)}, not {displayed(row.tag)}")
            self._tags[row.tag] += 1
            language = read_tag(row.tag)
            if language is None:
                return
        key = (language, row.text)
        if key in self._rows:
            known, where = self._rows[key]
            for name in row.scores.keys() & known.scores.keys():
                mine, its = row.scores[name], known.scores[name]
                if mine is not None and its is not None and abs(mine - its) > SAME:
                    raise RowError(f"{name} is {mine}, but the same text has {its} at {where}")
            if _scored(known) or not _scored(row):
                return
        self._rows[key] = (row, place)

    def done(self, path: Path) -> StoredScores:
        scored = {key: row for key, (row, _) in self._rows.items() if _scored(row)}
        attributes = tuple(next(iter(scored.values())).scores) if scored else ()
        for row, place in self._rows.values():
            if _scored(row) and row.scores.keys() != set(attributes):
                had, has = (", ".join(sorted(names)) for names in (attributes, row.scores))
                self._flaws.append(Flaw(place, f"has scores for {has}; rows before it for {had}"))
        unknown = {tag: count for tag, count in self._tags.items() if read_tag(tag) is None}
        listed = ", ".join(f"{tag[:20]!r}: {count}" for tag, count in Counter(unknown).most_common(10))
        if not scored and not self._flaws:
            reason = f"holds no score: rows need text and {TOXICITY}"
            if unknown and not self._rows:
                reason = f"holds scores in unknown languages only ({listed}); known: {' '.join(LANGUAGES)}"
            self._flaws.append(Flaw(str(path), reason))
        if self._flaws:
            raise DataError(self._flaws)
        results: dict[tuple[str | None, str], Scores | Failure] = {}
        for key, (row, _) in self._rows.items():
            values = {name: value for name, value in row.scores.items() if value is not None}
            missing = [name for name in attributes if name not in values]
            of = f" for {', '.join(missing)}" if values else ""
            results[key] = Failure(row.reason or f"no stored score{of}") if missing else values
        codes = {language for language, _ in scored}
        known = None if None in codes else tuple(code for code in LANGUAGES if code in codes)
        notes = [tags_note(self._tags), f"scores in unknown languages left out ({listed})" if unknown else None]
        return StoredScores(attributes, known, results, (*self.notes, *(f"{path}: {note}" for note in notes if note)))


def _scored(row: _Row) -> bool:
    return bool(row.scores) and all(value is not None for value in row.scores.values())


def _tag_of(file: Path) -> str:
    """Return the language tag at the end of the file's name, such as an RTP-LX locale in lower case.

    Raises DataError if the name does not end in a tag.
    """
    parts = file.stem.removeprefix("perspective_api_eval-").split("_")
    both = "_".join(parts[-2:])
    if not is_tag(parts[-1]) and read_tag(both) is None:
        reason = 'must have a name that ends in "_" and its language, such as perspective_api_eval-output_fr.json'
        raise DataError([Flaw(str(file), reason)])
    # The last part of "hi_IN" is also a withdrawn code of Indonesian.
    two = len(parts) > 1 and parts[-1].lower() not in LANGUAGES and "-" not in parts[-1] and read_tag(both) is not None
    return both if two else parts[-1]


def _answered(tag: str, fields: dict[str, Any]) -> _Row:
    """Read a line of the papers' files."""
    text = _text(fields, "query")
    response = fields.get("response")
    if response is None or isinstance(response, str):
        return _Row(tag, text, {}, f"stored without a score: {response or 'no response'}"[:200])
    if not isinstance(response, dict):
        raise RowError(f"response must be the API's answer or null, not {json_type(response)}")
    if "attributeScores" not in response and "error" in response:
        error = response["error"]
        message = error.get("message") if isinstance(error, dict) else error
        return _Row(tag, text, {}, f"stored without a score: {message}"[:200])
    try:
        scores = {name.lower(): score["summaryScore"]["value"] for name, score in response["attributeScores"].items()}
    except (KeyError, TypeError, AttributeError):
        raise RowError("response must have attributeScores, each with summaryScore.value") from None
    if TOXICITY not in scores:
        raise RowError("response has no score for TOXICITY")
    return _Row(tag, text, {name: _value(name, value) for name, value in scores.items()}, "")


def _archived_records(file: Path) -> Iterator[Record]:
    """Yield the rows of an archive's part, without the raw answers. Raises DataError if it cannot be read."""
    try:
        names = pq.read_schema(file).names
        rows = pq.read_table(file, columns=names[: names.index("reason") + 1], partitioning=None).to_pylist()
        yield from (Record(row + 1, row, fields) for row, fields in enumerate(rows))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError([Flaw(str(file), f"is not a part of an archive: {str(error).splitlines()[0]}")]) from None


def _archived(fields: dict[str, Any]) -> _Row:
    """Read a row of an archive. Its attributes are the columns between `status` and `reason`."""
    text, tag, status, *attributes = list(fields)[:-1]
    if fields[status] != OK:
        reason = f"archived without a score: {fields['reason'] or fields[status]}"
        return _Row(fields[tag], fields[text], {}, reason[:200])
    return _Row(fields[tag], fields[text], {name: _value(name, fields[name]) for name in attributes}, "")


def _tabled(columns: Columns, fields: dict[str, Any]) -> _Row:
    """Read a row of a table."""
    columns.add(fields)
    if TOXICITY not in fields:
        raise RowError(f"has no field {TOXICITY!r}")
    tag = value_of(fields, "language")
    if tag is not None and not isinstance(tag, str):
        raise RowError(f"language must be a code such as 'en', not {json_type(tag)}")
    scores = {name: _value(name, fields[name]) for name in ATTRIBUTES if name in fields}
    return _Row((tag or "").strip() or None, _text(fields, "text"), scores, "")


def _text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        raise RowError(f"{name} must be text, not {json_type(text)}" if name in fields else f"has no field {name!r}")
    return text


def _value(name: str, value: Any) -> float | None:
    """Return a score; None if the value stands for a missing one. Raises RowError if it is not in [0, 1]."""
    if value is None or (isinstance(value, str) and value.strip().lower() in MISSING):
        return None
    try:
        number = math.inf if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isnan(number):
        return None
    if not math.isfinite(number):
        raise RowError(f"{name} must be a number in [0, 1], not {displayed(value)}")
    if not 0 <= number <= 1:
        hint = " (is it in percent? Divide by 100)" if 1 < number <= 100 else ""
        raise RowError(f"{name} must be in [0, 1], not {displayed(value)}{hint}")
    return number
