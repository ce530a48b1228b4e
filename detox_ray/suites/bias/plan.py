"""The units of the stage, and what each is made from. Pure functions."""

from collections.abc import Iterator
from typing import NamedTuple

from detox_ray.cluster.stage import Context, Planned
from detox_ray.storage import Unit
from detox_ray.suites.bias.bias_set import Form
from detox_ray.suites.bias.conventions import BiasConvention
from detox_ray.suites.bias.tables import BIAS_ITEMS, BIAS_OUTCOMES, OPTION_LIKELIHOODS

ITEMS_PER_UNIT = 2000


class Asked(NamedTuple):
    """The questions that are put to the models."""

    convention: BiasConvention
    forms: dict[str, Form]  # set -> what its items are
    sizes: dict[tuple[str, str], int]  # (set, language) -> items

    def languages(self, name: str) -> list[str]:
        """Return the languages in which a set has items."""
        return [language for of, language in self.sizes if of == name]


def units(context: Context, asked: Asked) -> dict[Unit, Planned]:
    """Return all units of the stage."""
    planned: dict[Unit, Planned] = {}
    for (name, language), size in asked.sizes.items():
        items = BIAS_ITEMS.unit(set=name, language=language)
        for model, loadable in context.models.items():
            for shard in range(_shards(size)):
                unit = OPTION_LIKELIHOODS.unit(set=name, model=model, language=language, shard=shard)
                settings = {"dtype": loadable.dtype, "form": asked.forms[name], "shard": shard, "of": ITEMS_PER_UNIT}
                planned[unit] = context.of_model(model, items, **settings)
    for name, form in asked.forms.items():
        for model in context.models:
            for language in context.experiment.languages:
                unit = BIAS_OUTCOMES.unit(set=name, model=model, language=language)
                inputs = tuple(dict.fromkeys(_inputs(context, asked, name, model, language)))
                planned[unit] = Planned(inputs, {"convention": asked.convention.to_json(), "form": form})
    return planned


def _shards(size: int) -> int:
    return -(-size // ITEMS_PER_UNIT)


def _inputs(context: Context, asked: Asked, name: str, model: str, language: str) -> Iterator[Unit]:
    """Yield what outcomes are made from: choosing a set's templates takes all languages, and perhaps all models."""
    languages, models = [language], [model]
    if asked.forms[name] == "questions" and asked.convention.templates != "all":
        languages = asked.languages(name)
        if asked.convention.templates == "common":
            models = list(context.models)
    if language not in asked.languages(name):
        return
    for each_language in languages:
        yield BIAS_ITEMS.unit(set=name, language=each_language)
        for each_model in models:
            for shard in range(_shards(asked.sizes[name, each_language])):
                yield OPTION_LIKELIHOODS.unit(set=name, model=each_model, language=each_language, shard=shard)
