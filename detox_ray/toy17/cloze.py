"""Cloze questions of the built-in world: which word completes a sentence grammatically?

They test well-formedness and not knowledge, because this world has no facts.
"""

import random
from typing import Any

from detox_ray.toy17.grammar import Mixture, Sentence, chunks, join, sentence
from detox_ray.toy17.vocabulary import Vocabulary, vocabularies

QUESTIONS = 48  # per language
WRONG = ("persons", "places", "adverbs")  # categories of the wrong options, one word of each
PLAIN = Mixture(attribute=0, place=0, adverb=0)


def questions(seed: int, code: str, count: int = QUESTIONS) -> list[dict[str, Any]]:
    """Return a language's questions: the text before the object, four continuations, and the index of the right one."""
    language, rng = vocabularies()[code], random.Random(f"cloze-{seed}-{code}")
    return [_question(rng, language, f"{code}-{number:03d}") for number in range(count)]


def _question(rng: random.Random, language: Vocabulary, name: str) -> dict[str, Any]:
    what = sentence(rng, "action", PLAIN)
    words = [("objects", what.roles["object"][1])]
    words += [(category, rng.choice(list(language.forms(category)))) for category in WRONG]
    order = rng.sample(range(len(words)), len(words))
    options = []
    for place in order:
        before, after = _split(Sentence("action", {**what.roles, "object": words[place]}), language)
        options.append(after)
    return {"id": name, "query": before, "choices": options, "gold": order.index(0)}


def _split(what: Sentence, language: Vocabulary) -> tuple[str, str]:
    """Return the text before the object, and the object with everything after it."""
    parts = chunks(what, language)
    at = next(place for place, part in enumerate(parts) if part.role == "object")
    before = join(parts[:at])
    whole = join(parts) + language.full_stop
    assert before and whole.startswith(before)
    return before, whole.removeprefix(before)
