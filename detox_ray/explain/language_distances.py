"""How far languages are from English, whatever the model: by lang2vec, if it is installed, or by the user's file."""

import csv
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detox_ray.config import InputError

LANG2VEC = "lang2vec"  # as `explain.distances`: the package instead of a file
FEATURES = ("fam", "geo", "syntax_average")
ENGLISH = "en"
Properties = dict[str, dict[str, float]]  # predictor -> language -> value


def distances_of(given: str, languages: Sequence[str]) -> Properties:
    """Return what lang2vec or a CSV file says of each language, by predictor.

    Raises:
        InputError: lang2vec is asked for and not installed, or the file is no such table.
    """
    return of_lang2vec(languages) if given == LANG2VEC else read_distances(Path(given).expanduser())


def of_lang2vec(languages: Sequence[str]) -> Properties:
    """Return the cosine with English of the vectors of each feature set; languages that it lacks are left out.

    Raises:
        InputError: The package is not installed.
    """
    if importlib.util.find_spec(LANG2VEC) is None:
        raise InputError(
            "explain.distances: lang2vec is not installed: install it (pip install 'detox_ray[lang2vec]'), or give a "
            "CSV with the column language and a column for each distance"
        )
    from lang2vec import lang2vec

    found: Properties = {}
    for feature in FEATURES:
        vectors = {}
        for language in languages:
            try:
                vectors[language] = lang2vec.get_features([language], feature)[language]
            except Exception:  # the package raises no narrower one for a language that it lacks
                continue
        english = vectors.get(ENGLISH)
        if english is not None:
            cosines = {code: _cosine(english, vector) for code, vector in vectors.items() if code != ENGLISH}
            found[f"lang2vec_{feature}"] = {code: value for code, value in cosines.items() if value is not None}
    return found


def _cosine(one: Sequence[Any], other: Sequence[Any]) -> float | None:
    """Return the cosine over the features that are known of both languages; None if it is not defined."""
    known = [(a, b) for a, b in zip(one, other, strict=True) if "--" not in (a, b)]
    a, b = (np.array(side, dtype=np.float64) for side in zip(*known, strict=True)) if known else (np.zeros(1),) * 2
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else None


def read_distances(path: Path) -> Properties:
    """Return {column: {language: value}} of a CSV file; an empty cell is a language without a value.

    Raises:
        InputError: The file lacks the column language or any other, or a value is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = [name for name in rows[0] if name != "language"]
        if not columns:
            raise ValueError("it has no column beside language")
        return {name: {row["language"]: float(row[name]) for row in rows if row[name]} for name in columns}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        rule = "is no CSV with the column language and a column of numbers for each distance"
        raise InputError(f"explain.distances: {path} {rule} ({error})") from None
