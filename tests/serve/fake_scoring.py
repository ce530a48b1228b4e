"""Scoring and drawing without models: the text decides what they answer."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

from fake_gateway import Method, gateway

from detox_ray.score import ResolvedScorer
from detox_ray.score.variants.lexicon import LexiconConfig
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.workers.engine import Answer, Delta, FinishedSample, Sampling
from detox_ray.serve.workers.scoring import DetectedLanguage, Judgement, ScorerCard, TextScore
from detox_ray.serve.workers.stream_batches import StreamBatches

CARDS = [
    ScorerCard("insults", ("toxicity",), ("de", "en")),
    ScorerCard("classifier", ("toxicity", "severe_toxicity"), None),
]
UNKNOWN = "??"  # a text whose language cannot be told
GERMAN, ENGLISH = "de", "en"


class FakeScoring:
    """Scores 0.25 for each "idiot". A text with an umlaut is German; "odd" and an empty text cannot be scored."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str | None, list[str]]] = []
        self.cards, self.detect = Method(self._cards), Method(self._detect)
        self.judge, self.judge_all = Method(self._judge), Method(self._judge_all)

    async def _cards(self) -> list[ScorerCard]:
        return CARDS

    async def _detect(self, text: str) -> DetectedLanguage:
        if UNKNOWN in text:
            return DetectedLanguage(None, None, "too_short")
        code = GERMAN if "ü" in text else ENGLISH
        return DetectedLanguage(code, 0.9, "ok", code)

    async def _judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judgement:
        return (await self._judge_all([text], language, scorers))[0]

    async def _judge_all(self, texts: Sequence[str], language: str | None, scorers: Sequence[str]) -> list[Judgement]:
        self.asked.append((list(texts), language, list(scorers)))
        return [Judgement(await self._detect(text), {name: scored(text, name) for name in scorers}) for text in texts]


def scored(text: str, scorer: str) -> TextScore:
    if text == "odd":
        return TextScore({}, "failed", "is odd")
    if not text:
        return TextScore({}, "empty")
    card = next(card for card in CARDS if card.name == scorer)
    return TextScore(dict.fromkeys(card.attributes, 0.25 * text.count("idiot")), "ok")


class FakeDrawing:
    """An engine whose sample k says "idiot" k times, from seed 0 on."""

    def __init__(self, name: str):
        self.name, self.drawn = name, list[tuple[str, str, Sampling]]()
        self.finished_sample = Method(self._finished_sample)
        self.sample = Method(lambda *asked: StreamBatches().cut(self._sample(*asked)))
        self.refusal: Answer | None = None
        self.error: Exception | None = None

    async def _sample(
        self, model: str, prompt: str, sampling: Sampling
    ) -> AsyncGenerator[Delta | FinishedSample | Answer, None]:
        self.drawn.append((model, prompt, sampling))
        if self.error is not None:
            raise self.error
        if self.refusal is not None:
            yield self.refusal
            return
        for _ in range(sampling.seed):
            yield Delta(" idiot")
        yield FinishedSample(" idiot" * sampling.seed, sampling.seed, "stop")

    async def _finished_sample(self, model: str, prompt: str, sampling: Sampling) -> Delta | FinishedSample | Answer:
        return [item async for item in self._sample(model, prompt, sampling)][-1]


def compared(folder: Path, names: Sequence[str] = ("base", "tuned"), keys: Any = None, **config: Any) -> Gateway:
    """Return a gateway over fakes that draw and score."""
    made = gateway(folder, names, keys, **config)
    scorers = [
        ResolvedScorer(card.name, LexiconConfig(name=card.name, type="lexicon", path="x"), card.languages, "", "", "")
        for card in CARDS
    ]
    made.spec = made.spec._replace(scorers=scorers, primary="insults", parents={"tuned": "base"})
    engines: Any = {name: FakeDrawing(name) for name in names}
    scoring: Any = FakeScoring()
    made.engines, made.scoring = engines, scoring
    return made
