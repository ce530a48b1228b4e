"""Checks of the bias block before a run starts."""

from collections.abc import Callable, Mapping

from detox_ray.config import Experiment, Problem
from detox_ray.data import DataError
from detox_ray.data.rows import SHOWN_FLAWS
from detox_ray.suites.bias.answer_rules import AnswerRules
from detox_ray.suites.bias.bias_set import BiasItems, sets_of
from detox_ray.suites.bias.chat import chat_problems, uses_chat
from detox_ray.suites.bias.conventions import CONVENTIONS


def check(experiment: Experiment, say: Callable[[str], None]) -> list[Problem]:
    """Return all problems of the block, as found by the readers of its sets."""
    assert experiment.bias is not None
    problems = chat_problems(experiment)
    chat = uses_chat(experiment)
    for number, bias_set in enumerate(sets_of(experiment.bias)):
        try:
            items = bias_set.read(experiment.languages)
            for note in items.notes:
                say(note)
            if bias_set.in_words(chat):
                rules = bias_set.answer_rules(list(items.rows))
                say(_words_note(bias_set.name, items, rules, len(experiment.models), chat))
        except DataError as error:
            field = f"bias.sets.{number}.path"
            problems += [Problem(field, flaw.where, flaw.reason) for flaw in error.flaws[:SHOWN_FLAWS]]
            if len(error.flaws) > SHOWN_FLAWS:
                problems.append(Problem(field, f"{len(error.flaws) - SHOWN_FLAWS} more", "similar problems"))
    measured_by = experiment.measure.convention
    if experiment.bias.convention is None and measured_by not in CONVENTIONS:
        say(f"bias: the convention {measured_by} does not cover bias, so bias uses the convention corrected")
    return problems


def _words_note(name: str, items: BiasItems, rules: Mapping[str, AnswerRules], models: int, chat: bool) -> str:
    """Return a note on the amount of answers in words, which take far longer than likelihoods."""
    asked = sum(len(rows) for rows in items.rows.values())
    answers = sum(len(rows) * len(rules[language].prompts) for language, rows in items.rows.items())
    how = "by the models' chat template" if chat else "as plain text"
    return (
        f"bias: {name} is answered in words, {how}: {answers:,} greedy answers by each of {models} models to "
        f"{asked:,} questions. `prompts` and `per_template` reduce the number; `answer: likelihood` uses the "
        f"likeliest letter instead"
    )
