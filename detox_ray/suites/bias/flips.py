"""Items for which a tuned model chooses a different option than its parent, for the explorer in the report."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from detox_ray.cluster.explored_texts import ExplorerCompletion, ExplorerPrompt
from detox_ray.cluster.stage import Context
from detox_ray.storage import UnitTables
from detox_ray.storage.completion_tables import BIAS_QUESTIONS
from detox_ray.storage.tables import OK
from detox_ray.suites.bias.conventions import BiasConvention, is_tie
from detox_ray.suites.bias.plan import Asked
from detox_ray.suites.bias.preference import score
from detox_ray.suites.bias.questions import Answer, likeliest_answers, named_answers
from detox_ray.suites.bias.tables import ANTI, BIAS_ITEMS, OPTION_LIKELIHOODS, STEREOTYPE

Item = Mapping[str, Any]


def flips(context: Context, asked: Asked) -> list[ExplorerPrompt]:
    """Return the first flipped items of each set, language and comparison, at most as many as the page shows prompts.

    As for other texts of the page, only the first unit of each set and language is searched.
    """
    first = {
        table: UnitTables(context.store, {unit: key for unit, key in context.units(table).items() if unit.shard == 0})
        for table in (BIAS_ITEMS, OPTION_LIKELIHOODS, BIAS_QUESTIONS.generations)
    }
    shown: list[ExplorerPrompt] = []
    for name, language in asked.sizes:
        items = first[BIAS_ITEMS][name, language].to_pylist()
        table = BIAS_QUESTIONS.generations if name in asked.rules else OPTION_LIKELIHOODS
        choices = {
            model: choices_of(items, first[table][name, model, language].to_pylist(), asked, name, language)
            for model in context.models
        }
        for pair in context.experiment.comparisons:
            sides = {model: choices[model] for model in (pair.parent, pair.model)}
            shown += islice(flipped(items, sides, name, language), context.experiment.report.prompts)
    return shown


def flipped(
    items: Sequence[Item], sides: Mapping[str, Mapping[str, int]], name: str, language: str
) -> Iterator[ExplorerPrompt]:
    """Yield the items for which two models choose different options.

    Args:
        items: Rows of BIAS_ITEMS.
        sides: Model -> item id -> index of the chosen option.
        name: The set.
        language: The language of the items.
    """
    for item in items:
        places = {model: of_model.get(item["item_id"]) for model, of_model in sides.items()}
        if None in places.values() or len(set(places.values())) == 1:
            continue
        chosen = [
            ExplorerCompletion(model, 0, item["options"][place], None, item["roles"][place])
            for model, place in places.items()
            if place is not None
        ]
        asked = [item["context"], item["question"]] if item["question"] is not None else []
        text = "\n".join([*asked, *item["options"]])
        yield ExplorerPrompt(language, f"{name} {item['item_id']}", text, chosen, name, item["part"])


def choices_of(items: Sequence[Item], rows: Sequence[Item], asked: Asked, name: str, language: str) -> dict[str, int]:
    """Return {item id: index of the option that a model chooses}, without ties and items that were not measured.

    Args:
        items: Rows of BIAS_ITEMS.
        rows: The model's likelihoods, or its answers in words, of which only those to the first prompt count.
        asked: The questions that the models were asked.
        name: The set.
        language: The language of the items.
    """
    convention = asked.convention_of(name)
    if asked.forms[name] != "questions":
        return _likelier_sentences(items, rows, convention)
    measured = {row["item_id"] if "item_id" in row else row["prompt_id"].rpartition("#")[0] for row in rows}
    items = [item for item in items if item["item_id"] in measured]
    answers: Sequence[Answer]
    if name in asked.rules:
        rules = asked.rules[name][language]
        first_prompts = rules._replace(prompts=rules.prompts[:1])
        answers, _ = named_answers(items, rows, first_prompts)
    else:
        answers, _ = likeliest_answers(items, rows, convention.ties)
    return {answer.item["item_id"]: answer.shares.index(1.0) for answer in answers if 1.0 in answer.shares}


def _likelier_sentences(items: Sequence[Item], rows: Sequence[Item], convention: BiasConvention) -> dict[str, int]:
    """Return {item id: index of the likelier option} among the stereotype and its opposite."""
    scores = {(row["item_id"], row["option"]): score(row, convention) for row in rows if row["status"] == OK}
    choices: dict[str, int] = {}
    for item in items:
        places = [item["roles"].index(role) for role in (STEREOTYPE, ANTI)]
        stereotype, anti = (scores.get((item["item_id"], place)) for place in places)
        if stereotype is not None and anti is not None and not is_tie(stereotype, anti):
            choices[item["item_id"]] = places[stereotype < anti]
    return choices
