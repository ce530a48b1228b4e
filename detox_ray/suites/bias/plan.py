"""The units of the bias stages, and the inputs of each. Pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from detox_ray.cluster.stage import Context, Planned
from detox_ray.storage import Unit, key_of
from detox_ray.storage.completion_tables import BIAS_QUESTIONS
from detox_ray.suites.bias.answer_rules import AnswerRules
from detox_ray.suites.bias.bias_set import Form
from detox_ray.suites.bias.conventions import BiasConvention
from detox_ray.suites.bias.tables import BIAS_ITEMS, BIAS_OUTCOMES, OPTION_LIKELIHOODS

ITEMS_PER_UNIT = 2000


class Asked(NamedTuple):
    """The items that the models are asked, by set."""

    convention: BiasConvention
    forms: dict[str, Form]  # set -> form of its items
    sizes: dict[tuple[str, str], int]  # (set, language) -> number of items
    # set -> language -> prompts and rules, for sets that are answered in words
    rules: Mapping[str, Mapping[str, AnswerRules]] = {}
    chat: bool = False  # whether these are asked as a user message in the models' chat template

    def languages(self, name: str) -> list[str]:
        """Return the languages in which a set has items."""
        return [language for of, language in self.sizes if of == name]

    def convention_of(self, name: str) -> BiasConvention:
        """Return the convention of a set's numbers; for questions, its label includes the way of answering."""
        if self.forms[name] != "questions":
            return self.convention
        return self.convention.answered("generate" if name in self.rules else "likelihood")


def units(context: Context, asked: Asked) -> dict[Unit, Planned]:
    """Return all units of the stage."""
    planned: dict[Unit, Planned] = {}
    for (name, language), size in asked.sizes.items():
        items = BIAS_ITEMS.unit(set=name, language=language)
        for model, loadable in context.models.items() if name not in asked.rules else ():
            for shard in range(_shards(size)):
                unit = OPTION_LIKELIHOODS.unit(set=name, model=model, language=language, shard=shard)
                measured = {"dtype": loadable.dtype, "form": asked.forms[name], "shard": shard, "of": ITEMS_PER_UNIT}
                planned[unit] = context.of_model(model, items, **measured)
    for name, form in asked.forms.items():
        for model in context.models:
            for language in context.experiment.languages:
                unit = BIAS_OUTCOMES.unit(set=name, model=model, language=language)
                inputs = tuple(dict.fromkeys(_inputs(context, asked, name, model, language)))
                settings: dict[str, Any] = {"convention": asked.convention_of(name).to_json(), "form": form}
                if name in asked.rules:
                    # Only their hash: files under other licences stay out of the run's folder.
                    settings["rules"] = key_of(**{code: list(rules) for code, rules in asked.rules[name].items()})
                planned[unit] = Planned(inputs, settings)
    return planned


def _shards(size: int) -> int:
    return -(-size // ITEMS_PER_UNIT)


def _inputs(context: Context, asked: Asked, name: str, model: str, language: str) -> Iterator[Unit]:
    """Yield the inputs of outcomes; choosing templates needs all languages, and for some conventions all models."""
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
            if name in asked.rules:
                wanted = name, each_model, each_language
                yield from (u for u in context.units(BIAS_QUESTIONS.generations) if _subject(u) == wanted)
                continue
            for shard in range(_shards(asked.sizes[name, each_language])):
                yield OPTION_LIKELIHOODS.unit(set=name, model=each_model, language=each_language, shard=shard)


def _subject(unit: Unit) -> tuple[str, str, str]:
    """Return the set, model and language of a unit of answers."""
    return unit["set"], unit["model"], unit["language"]
