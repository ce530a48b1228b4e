"""A card per scorer: which version it is, what its values mean, what it was trained on, and where it was shown to work.

A fact that a publisher does not state is not made up: the card says so.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import InputError
from detox_ray.config.base import closest
from detox_ray.score.registry import ready_scorers
from detox_ray.score.scorer_variant import ReadyScorer, ResolvedScorer

NOT_STATED = "not stated by its publisher"


class LanguageValidity(NamedTuple):
    """How far a scorer can be believed in a language, as `detox-ray validity` measured it here."""

    language: str
    reference: str  # whose judgement it was held against
    n: int
    auroc: float | None
    ci_low: float | None
    ci_high: float | None
    status: str  # "ok", or why there is no number


class Card(NamedTuple):
    """Everything that is known of a scorer."""

    name: str
    type: str
    origin: str  # hub id, file or address
    revision: str
    licence: str
    languages: list[str] | None  # in which it has evidence; None: it is asked in all
    attributes: dict[str, str]  # attribute -> what a value of it means
    trained_on: str
    members: list[str]  # scorers that it is made from
    needs: str  # what it takes to run it; "" if that is not known
    validity: list[LanguageValidity]


def ready_card(name: str, validity: Sequence[LanguageValidity] = ()) -> Card:
    """Return the card of a ready scorer, without loading it. Raises InputError for an unknown name."""
    ready = ready_scorers()
    if name not in ready:
        raise InputError(f"unknown scorer {name!r}{closest(name, ready)}; known: {', '.join(ready)}")
    scorer = ready[name]
    revision = str(getattr(scorer.config, "revision", None) or "the newest, which is pinned when it is used")
    languages = None if scorer.languages is None else list(scorer.languages)
    return _card(scorer.config, revision, languages, scorer.attributes, scorer, (), validity)


def card_of(scorer: ResolvedScorer, attributes: Sequence[str], validity: Sequence[LanguageValidity] = ()) -> Card:
    """Return the card of a scorer as it is used, with the attributes that it gives."""
    ready = ready_scorers().get(scorer.name) if scorer.config.is_ready else None
    languages = None if scorer.languages is None else list(scorer.languages)
    members = [member.name for member in scorer.members]
    return _card(scorer.config, scorer.revision, languages, attributes, ready, members, validity)


def _card(
    config: Any,
    revision: str,
    languages: list[str] | None,
    attributes: Sequence[str],
    ready: ReadyScorer | None,
    members: Sequence[str],
    validity: Sequence[LanguageValidity],
) -> Card:
    return Card(
        name=config.name,
        type=config.kind,
        origin=config.origin,
        revision=revision,
        licence="the user's" if ready is None else ready.licence,
        languages=languages,
        attributes={attribute: config.meaning(attribute) for attribute in attributes},
        trained_on=("the user's to state" if ready is None else ready.trained_on) or NOT_STATED,
        members=list(members),
        needs="" if ready is None else ready.cost,
        validity=[row for row in validity],
    )


def validity_rows(rows: Sequence[Mapping[str, Any]], scorer: str) -> list[LanguageValidity]:
    """Return what a run's results or a validity.csv say of a scorer."""
    return [
        LanguageValidity(
            str(row["language"]),
            str(row["reference"]),
            int(row["n"]),
            _number(row["auroc"]),
            _number(row["ci_low"]),
            _number(row["ci_high"]),
            str(row["status"]),
        )
        for row in rows
        if row["scorer"] == scorer
    ]


def _number(cell: Any) -> float | None:
    return None if cell in (None, "") else float(cell)


def read_validity(path: Path, scorer: str) -> list[LanguageValidity]:
    """Read a validity.csv that `detox-ray validity` wrote. Raises InputError if it is none."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return validity_rows(list(csv.DictReader(stream)), scorer)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: must be a validity.csv of `detox-ray validity` ({error})") from None
