"""Problems of the bias block, found before anything is spent."""

from collections.abc import Callable
from typing import cast

from detox_ray.config import Experiment, Problem
from detox_ray.config.bias import BiasConfig
from detox_ray.data import DataError
from detox_ray.data.rows import SHOWN_FLAWS
from detox_ray.suites.bias.bias_set import BiasSet, Form
from detox_ray.suites.bias.conventions import CONVENTIONS


def sets_of(config: BiasConfig) -> list[BiasSet]:
    """Return the block's sets as their sources' classes."""
    return [cast(BiasSet, bias_set) for bias_set in config.sets]


def forms_of(config: BiasConfig) -> dict[str, Form]:
    """Return set -> what its items are."""
    return {bias_set.name: bias_set.form for bias_set in sets_of(config)}


def check(experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
    """Return all problems of the block, as the sets' own readers find them."""
    assert experiment.bias is not None
    problems: list[Problem] = []
    for number, bias_set in enumerate(sets_of(experiment.bias)):
        try:
            for note in bias_set.read(experiment.languages).notes:
                say(note)
        except DataError as error:
            field = f"bias.sets.{number}.path"
            problems += [Problem(field, flaw.where, flaw.reason) for flaw in error.flaws[:SHOWN_FLAWS]]
            if len(error.flaws) > SHOWN_FLAWS:
                problems.append(Problem(field, f"{len(error.flaws) - SHOWN_FLAWS} more", "and so on"))
    measured_by = experiment.measure.convention
    if experiment.bias.convention is None and measured_by not in CONVENTIONS:
        say(f"bias: the convention {measured_by} says nothing about bias, so bias is counted by corrected")
    return problems
