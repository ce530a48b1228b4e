"""Parallel sentences in several languages: toy17's, or those of a user's file."""

import csv
import html
import random
from collections.abc import Sequence
from pathlib import Path

from detox_ray.config import InputError
from detox_ray.config.explain import ParallelConfig
from detox_ray.config.languages import read_tag


def parallel_sentences(config: ParallelConfig, languages: Sequence[str], seed: int) -> dict[str, list[str]]:
    """Return {language: sentences}, in which the i-th sentences are translations of each other.

    Languages that the source lacks are left out. HTML entities are decoded: some of the 200 sentences of Li et al.
    contain them.

    Raises:
        InputError: The file cannot be read, has no English, or its languages have different numbers of sentences.
    """
    if config.source == "toy17":
        return {code: _toy17(code, config.sentences, seed) for code in languages}
    assert config.path is not None
    path = Path(config.path).expanduser()
    sentences = _folder(path, languages) if path.is_dir() else _table(path, languages)
    if "en" not in sentences:
        raise InputError(f"explain.parallel.path: {path} has no English sentences (column en, or en.txt)")
    lengths = {code: len(lines) for code, lines in sentences.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{code} {count}" for code, count in lengths.items())
        raise InputError(f"explain.parallel.path: {path} has different numbers of sentences ({shown})")
    return {code: [html.unescape(line) for line in lines[: config.sentences]] for code, lines in sentences.items()}


def _toy17(code: str, count: int, seed: int) -> list[str]:
    from detox_ray.toy17.grammar import Mixture, say, sentence
    from detox_ray.toy17.vocabulary import vocabularies

    rng, mixture = random.Random(f"parallel-{seed}"), Mixture()
    kinds = ("action", "praise", "insult")
    drawn = [sentence(rng, kinds[number % len(kinds)], mixture) for number in range(count)]  # type: ignore[arg-type]
    return [say(what, vocabularies()[code]) for what in drawn]


def _folder(path: Path, languages: Sequence[str]) -> dict[str, list[str]]:
    files = {code: path / f"{code}.txt" for code in languages}
    return {
        code: [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
        for code, file in files.items()
        if file.is_file()
    }


def _table(path: Path, languages: Sequence[str]) -> dict[str, list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"explain.parallel.path: {path} cannot be read ({error})") from None
    columns = {read_tag(name) or name: name for name in (rows[0] if rows else {}) if name}
    return {code: [str(row[columns[code]] or "") for row in rows] for code in languages if code in columns}
