"""Completions as bad as models write them, and the score stage's tables about them, by instruments that tests know.

Texts are duplicated, empty, of white space only, of several lines, in another language, and hold English words. Scores
are eighths, so that many means are exact ties.
"""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import small_tables as tables

from detox_ray.measure import Inputs
from detox_ray.models import LoadableModel
from detox_ray.score import ResolvedScorer
from detox_ray.score.cached_scorer import CachedScorer, score_rows
from detox_ray.score.diversity import diversity
from detox_ray.score.english_words import WordList, read_words
from detox_ray.score.fluency import CompletionLikelihood, FluencyWorker
from detox_ray.score.identifiers import Identified
from detox_ray.score.identify import IdentificationWorker, IdentifiedText
from detox_ray.score.scorers import Failure, Scores
from detox_ray.score.variants.lexicon import LexiconConfig
from detox_ray.storage import Store
from detox_ray.storage.tables import DIVERSITIES, FLUENCIES, IDENTIFICATIONS, SCORES

CODES, MODELS, SAMPLES, PROMPTS = ("en", "fr", "ru", "hi"), ("base", "detox"), 25, 16
WORDS = {
    "en": ["the", "bread", "of", "old", "town", "is", "good", "and", "cheap"],
    "fr": ["le", "pain", "de", "la", "ville", "est", "bon", "et", "cher"],
    "ru": ["хлеб", "в", "старом", "городе", "очень", "вкусный", "и", "дешёвый"],
    "hi": ["पुराने", "शहर", "की", "रोटी", "बहुत", "अच्छी", "और", "सस्ती", "है"],
}
ENGLISH = "bread\ngood\ncheap\ntown\nthe\nLondon\nold\n"  # of the list; "roti" and "kaise" are not in it
BLANKS = ("", "", " ", "\n", "\n\n", "\n ")


def units(text: str) -> list[str]:
    """A tokenizer that makes a token of each new line, and none of other white space."""
    return re.findall(r"\n|\S+", text)


def toxicity(text: str) -> float:
    """An eighth that only the text decides, as a scorer's; of white space too, and " " for no text at all."""
    return random.Random(f"score {text or ' '!r}").choice((0, 0, 0, 1, 1, 2, 3, 4, 5, 8)) / 8


def language_of(text: str) -> Identified:
    """By the first word that any language has; romanised and unknown words tell nothing."""
    for word in text.split():
        for code, known in WORDS.items():
            if word in known:
                return Identified(code, 0.9)
    return Identified("sv", 0.2)


def completion(rng: random.Random, code: str) -> str:
    if rng.random() < 0.1:
        return rng.choice(BLANKS)
    own = rng.choice(CODES) if rng.random() < 0.2 else code
    words = rng.choices(WORDS[own], k=rng.randint(1, 12))
    if rng.random() < 0.2:
        words.insert(rng.randint(1, len(words)), rng.choice(("good", "bread", "roti", "kaise", "the", "town,")))
    if rng.random() < 0.3:
        words.insert(rng.randint(0, len(words)), rng.choice(("\n", "\n\n", "\nQ:")))
    return " ".join(words)


class World:
    """Texts per language and model, and the tables of the score stage about them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self._store = Store.at(str(folder / "run"))
        (folder / "words").write_text(ENGLISH, encoding="utf-8")
        self.listed: WordList = read_words(str(folder / "words"))
        monkeypatch.setattr("detox_ray.score.cached_scorer.load", lambda *_: _Scorer())
        monkeypatch.setattr("detox_ray.score.identifiers.load", lambda *_: _Identifier())
        monkeypatch.setattr("detox_ray.score.evaluators.load", lambda *_: _Evaluator())
        rng = random.Random(11)
        self.prompts = {code: [" ".join(rng.choices(WORDS[code], k=4)) for _ in range(PROMPTS)] for code in CODES}
        self.texts: dict[tuple[str, str], list[list[str]]] = {}
        for code, prompts in self.prompts.items():
            prompts[5] = prompts[9] = prompts[2]  # the same string in three rows
            for model in MODELS:
                self.texts[model, code] = [[completion(rng, code) for _ in range(SAMPLES)] for _ in prompts]
            self.texts["detox", code][1] = [""] * SAMPLES
            self.texts["detox", code][3] = [self.texts["base", code][3][0]] * SAMPLES

        self.tables = self._inputs()

    def _inputs(self) -> Inputs:
        places = list(self.texts)
        return Inputs(
            languages=CODES,
            models=MODELS,
            compare=[("detox", "base")],
            supports={"scorer": CODES},
            reference=None,
            prompts={code: tables.prompts(prompts) for code, prompts in self.prompts.items()},
            generations={
                place: tables.generations([[(t, 0.0) for t in s] for s in self.texts[place]]) for place in places
            },
            scores={("scorer", *place): self._scores(*place) for place in places},
            likelihoods={},
            identifications={place: self._identifications(*place) for place in places},
            fluencies={("mt5", *place): self._fluencies(*place) for place in places},
            diversities={place: self._diversities(*place) for place in places},
            identifier="fasttext",
            diversity_units="mt5",
            english_words="list",
        )

    def _rows(self, model: str, code: str) -> list[tuple[str, int, str, str]]:
        """Prompt id, sample, prompt and completion of each row."""
        return [
            (f"p{i}", k, self.prompts[code][i], text)
            for i, samples in enumerate(self.texts[model, code])
            for k, text in enumerate(samples)
        ]

    def _scores(self, model: str, code: str) -> pa.Table:
        rows = self._rows(model, code)
        scorer = ResolvedScorer("scorer", LexiconConfig(name="s", type="lexicon", path="x"), None, "r", "i", "k")
        answers = CachedScorer(scorer, 512, self._store).score([text for *_, text in rows], code, f"{model}-{code}")
        places = pa.table(
            {"prompt_id": [row[0] for row in rows], "sample": pa.array([row[1] for row in rows], pa.int32())}
        )
        return score_rows(SCORES, places, answers.values, answers.statuses)

    def _identifications(self, model: str, code: str) -> pa.Table:
        rows = self._rows(model, code)
        worker = IdentificationWorker("lingua", None, self.listed.words, self._store)
        judged: list[IdentifiedText] = worker.judge([text for *_, text in rows], code)
        return _table(IDENTIFICATIONS.columns, rows, judged)

    def _fluencies(self, model: str, code: str) -> pa.Table:
        rows = self._rows(model, code)
        judge = LoadableModel("mt5", "mt5", False, None, "float32", "k")
        found: list[CompletionLikelihood] = FluencyWorker(judge, 4096, self._store).evaluate(
            [(p, text) for _, _, p, text in rows]
        )
        return _table(FLUENCIES.columns, rows, found)

    def _diversities(self, model: str, code: str) -> pa.Table:
        counts = [
            row
            for prompt, samples in zip(self.prompts[code], self.texts[model, code], strict=True)
            for row in diversity(units(prompt), [units(text) for text in samples])
        ]
        return _table(DIVERSITIES.columns, self._rows(model, code), counts)


def _table(schema: pa.Schema, rows: Sequence[tuple[str, int, str, str]], columns: Sequence[Any]) -> pa.Table:
    values = [(row[0], row[1], *own) for row, own in zip(rows, columns, strict=True)]
    return pa.Table.from_pylist([dict(zip(schema.names, value, strict=True)) for value in values], schema=schema)


class _Scorer:
    name, attributes, device = "scorer", ("toxicity",), "cpu"

    def score(self, texts: Sequence[str], language: str) -> list[Scores | Failure]:
        assert "" not in texts
        return [{"toxicity": toxicity(text)} for text in texts]


class _Identifier:
    def identify(self, texts: Sequence[str]) -> list[Identified]:
        return [language_of(text) for text in texts]


class _Evaluator:
    """Ids are hashes of the units; a loss is drawn by the ids."""

    kind, device, context, vocabulary = "t5", "cpu", 10_000, 1

    def prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        return [ids_of(prompt) for prompt in prompts]

    def wholes(self, prompts: Sequence[str], ids: Sequence[list[int]], completions: Sequence[str]) -> list[list[int]]:
        return [ids_of(prompt + completion) for prompt, completion in zip(prompts, completions, strict=True)]

    def nll(self, rows: Sequence[Sequence[int]]) -> list[float]:
        return [loss_of(row) * len(row) for row in rows]


def ids_of(text: str) -> list[int]:
    return [*(sum(map(ord, unit)) for unit in units(text)), 1]  # with </s>


def loss_of(ids: Sequence[int]) -> float:
    """A mean over tokens, in nats; now and then one that makes a perplexity above 1e4."""
    return random.Random(f"loss {list(ids)}").choice((1.5, 2.0, 2.25, 2.5, 3.0, 6.0))
