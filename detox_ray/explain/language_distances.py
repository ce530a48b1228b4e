"""Distances of languages from English, independent of the model: from lang2vec, if installed, or from a user's file."""

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detox_ray.config import InputError

LANG2VEC = "lang2vec"  # the value of `explain.distances` that selects the package instead of a file
FEATURES = ("fam", "geo", "syntax_average")
ENGLISH = "en"
Properties = dict[str, dict[str, float]]  # predictor -> language -> value


def distances_of(given: str, languages: Sequence[str]) -> Properties:
    """Return {predictor: {language: value}} from lang2vec or from a CSV file.

    Raises:
        InputError: lang2vec is selected but not installed, or the file is not such a table.
    """
    return of_lang2vec(languages) if given == LANG2VEC else read_distances(Path(given).expanduser())


def of_lang2vec(languages: Sequence[str]) -> Properties:
    """Return the cosine of each language's vector with English, for each feature set; unknown languages are left out.

    Raises:
        InputError: The package is not installed.
    """
    if importlib.util.find_spec(LANG2VEC) is None:
        raise InputError(
            "explain.distances: lang2vec is not installed: install it (pip install 'detox_ray[lang2vec]'), or give a "
            "CSV file with the column language and a column for each distance"
        )
    from lang2vec import lang2vec

    properties: Properties = {}
    for feature in FEATURES:
        vectors = {}
        for language in languages:
            try:
                vectors[language] = lang2vec.get_features([language], feature)[language]
            except Exception:  # the package raises no narrower exception for an unknown language
                continue
        english = vectors.get(ENGLISH)
        if english is not None:
            cosines = {code: _cosine(english, vector) for code, vector in vectors.items() if code != ENGLISH}
            properties[f"lang2vec_{feature}"] = {code: value for code, value in cosines.items() if value is not None}
    return properties


def _cosine(one: Sequence[Any], other: Sequence[Any]) -> float | None:
    """Return the cosine over the features known for both languages; None if it is not defined."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if "--" not in (a, b)]
    a, b = (np.array(side, dtype=np.float64) for side in zip(*known, strict=True)) if known else (np.zeros(1),) * 2
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else None


def read_distances(path: Path) -> Properties:
    """Read {column: {language: value}} from a CSV file; an empty cell means that the language has no value.

    Raises:
        InputError: The file lacks the column language, has no other column, or a value is not a number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = [name for name in rows[0] if name != "language"]
        if not columns:
            raise ValueError("it has no column besides language")
        return {name: {row["language"]: float(row[name]) for row in rows if row[name]} for name in columns}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        rule = "is not a CSV file with the column language and a column of numbers for each distance"
        raise InputError(f"explain.distances: {path} {rule} ({error})") from None
