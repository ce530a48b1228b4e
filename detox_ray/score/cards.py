"""A card for each scorer: its version, the meaning of its values, its training data, and where it was shown to work.

If a publisher does not state a fact, the card says so.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray.config import ConfigError, InputError, Problem
from detox_ray.config.base import closest
from detox_ray.score.registry import ready_scorers
from detox_ray.score.scorer_variant import ReadyScorer, ResolvedScorer

NOT_STATED = "not stated by its publisher"


class LanguageValidity(NamedTuple):
    """A scorer's validity in one language, as measured by `detox-ray validity`."""

    language: str
    reference: str  # who judged the texts that the scores were compared with
    n: int
    auroc: float | None
    ci_low: float | None
    ci_high: float | None
    status: str  # "ok", or why there is no number


class Card(NamedTuple):
    """Everything that is known about a scorer."""

    name: str
    type: str
    origin: str  # hub id, file or address
    revision: str
    licence: str
    languages: list[str] | None  # languages in which it has evidence; None: all
    attributes: dict[str, str]  # attribute -> the meaning of its values
    trained_on: str
    members: list[str]  # scorers that it is made from
    needs: str  # resources that it needs; "" if unknown
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
    """Return the card of a resolved scorer, with the attributes that it returns."""
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
        validity=list(validity),
    )


def validity_rows(rows: Sequence[Mapping[str, Any]], scorer: str) -> list[LanguageValidity]:
    """Return the validity of a scorer by language, from rows of a run's results or of a validity.csv."""
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
    """Read a validity.csv that `detox-ray validity` wrote. Raise ConfigError if the file is something else."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return validity_rows(list(csv.DictReader(stream)), scorer)
    except FileNotFoundError:
        reason = "it does not exist"
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    except KeyError as error:
        reason = f"it has no column {error.args[0]}"
    except ValueError as error:
        reason = str(error)
    rule = f"must be a validity.csv, which `detox-ray validity` writes to the run's folder: {reason}"
    raise ConfigError([Problem("--validity", str(path), rule)])
