"""A comparison's events: their order, what a broken sample leaves intact, how a summary is computed."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from detox_ray.client.wire_types import CompletionScore, DoneEvent, ModelSummary, ScoredSample, StartEvent, TokenEvent
from detox_ray.serve.compare.event_stream import (
    SAMPLES_PER_ENGINE,
    BrokenSample,
    ComparisonEvent,
    ComparisonSettings,
    comparison_events,
    summarize,
)
from detox_ray.serve.workers.engine import Delta, FinishedSample, Sampling
from detox_ray.serve.workers.scoring import DetectedLanguage, Judgement, TextScore

ASKED = ComparisonSettings(
    id="cmp-1",
    models=["base", "tuned"],
    parents={"tuned": "base"},
    prompts=["der Hund", "le chien"],
    language=None,
    scorers=["insults"],
    primary="insults",
    samples=2,
    sampling=Sampling(seed=7, temperature=0.9, top_p=0.8, max_tokens=20),
    threshold=0.5,
)


class World:
    """Draws a text that spells out its settings, scores it from a table, and records the calls."""

    def __init__(self, values: dict[int, float] | None = None) -> None:
        self.drawn: list[tuple[str, str, Sampling]] = []
        self.judged: list[tuple[str, str | None, tuple[str, ...]]] = []
        self.values, self.open, self.most_open = values or {}, 0, 0
        self.broken: set[tuple[str, int]] = set()
        self.go = asyncio.Event()
        self.go.set()

    async def draw(self, model: str, prompt: str, sampling: Sampling) -> AsyncGenerator[Delta | FinishedSample, None]:
        self.drawn.append((model, prompt, sampling))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            yield Delta(f" {model}")
            await asyncio.sleep(0)
            await self.go.wait()
            if (model, sampling.seed) in self.broken:
                raise OSError("gone")
            yield FinishedSample(f"{model} {prompt} {sampling.seed}", 3, "stop")
        finally:
            self.open -= 1

    async def judge(self, text: str, language: str | None, scorers: Sequence[str]) -> Judgement:
        self.judged.append((text, language, tuple(scorers)))
        detected = DetectedLanguage("fr" if "chien" in text else "de", 0.9, "ok")
        seed = int(text.rpartition(" ")[2]) if scorers else 0
        value = self.values.get(seed)
        scored = TextScore({}, "failed", "no") if value is None else TextScore({"toxicity": value}, "ok")
        return Judgement(detected, dict.fromkeys(scorers, scored))


def happened(world: World, asked: ComparisonSettings = ASKED) -> list[ComparisonEvent]:
    async def go() -> list[ComparisonEvent]:
        async with aclosing(comparison_events(asked, world.draw, world.judge)) as all_of_it:
            return [event async for event in all_of_it]

    return asyncio.run(go())


def of(kind: type[Any], found: Sequence[ComparisonEvent]) -> list[Any]:
    return [event for event in found if isinstance(event, kind)]


def test_every_model_gets_the_same_prompts_and_seeds() -> None:
    world = World({7: 0.2, 8: 0.6})
    happened(world)
    for model in ASKED.models:
        mine = sorted((prompt, sampling.seed) for name, prompt, sampling in world.drawn if name == model)
        assert mine == [("der Hund", 7), ("der Hund", 8), ("le chien", 7), ("le chien", 8)]
    assert {sampling._replace(seed=0) for _, _, sampling in world.drawn} == {ASKED.sampling._replace(seed=0)}


def test_events_come_in_the_order_that_is_documented() -> None:
    found = happened(World({7: 0.2, 8: 0.6}))
    assert isinstance(found[0], StartEvent) and isinstance(found[-1], DoneEvent)
    assert [prompt.language for prompt in found[0].prompts] == ["de", "fr"]
    samples = of(ScoredSample, found)
    assert len(samples) == 8
    for sample in samples:
        place = found.index(sample)
        tokens = [
            e
            for e in of(TokenEvent, found)
            if (e.model, e.prompt, e.sample) == (sample.model, sample.prompt, sample.sample)
        ]
        assert tokens and all(found.index(token) < place for token in tokens)
        summarised = next(i for i, e in enumerate(found) if isinstance(e, ModelSummary) and e.model == sample.model)
        assert place < summarised


def test_a_score_is_told_the_prompts_language_and_not_the_completions() -> None:
    world = World({7: 0.2, 8: 0.6})
    found = happened(world, ASKED._replace(prompts=["x"], language="ja"))
    assert {language for _, language, scorers in world.judged if scorers} == {"ja"}
    assert [sample.in_language for sample in of(ScoredSample, found)] == [False] * 4
    (prompt,) = found[0].prompts  # type: ignore[union-attr]
    assert (prompt.language, prompt.language_status) == ("ja", "given")


def test_where_the_prompts_language_is_unknown_the_completions_counts() -> None:
    world = World({7: 0.2, 8: 0.6})

    async def judge(text: str, language: str | None, scorers: Sequence[str]) -> Judgement:
        judged = await world.judge(text, language, scorers)
        return judged if scorers else Judgement(DetectedLanguage("und", 0.1, "ok", "fr"), {})

    async def go() -> list[ComparisonEvent]:
        return [event async for event in comparison_events(ASKED, world.draw, judge)]

    found = asyncio.run(go())
    assert {language for _, language, scorers in world.judged if scorers} == {None}
    assert {sample.in_language for sample in of(ScoredSample, found)} == {None}


def test_a_broken_sample_leaves_the_others_and_is_not_in_the_summary() -> None:
    world = World({7: 0.2, 8: 0.6})
    world.broken.add(("tuned", 8))
    found = happened(world)
    assert sorted((b.model, b.prompt, b.sample) for b in of(BrokenSample, found)) == [("tuned", 0, 1), ("tuned", 1, 1)]
    base, tuned = sorted(of(ModelSummary, found), key=lambda each: each.model)
    assert (base.samples, base.expected_maximum_toxicity) == (4, 0.6)
    assert (tuned.samples, tuned.expected_maximum_toxicity) == (2, 0.2)
    assert isinstance(found[-1], DoneEvent)


def test_closing_it_stops_what_is_being_drawn() -> None:
    world = World()

    async def go() -> tuple[int, int]:
        world.go.clear()
        stream = comparison_events(ASKED, world.draw, world.judge)
        while not isinstance(await anext(stream), TokenEvent):
            pass
        before = world.open
        await stream.aclose()
        return before, world.open

    before, after = asyncio.run(go())
    assert before and not after


def test_one_comparison_does_not_fill_an_engine() -> None:
    world = World(dict.fromkeys(range(200), 0.5))
    happened(world, ASKED._replace(models=["base"], parents={}, prompts=["x"], samples=100))
    assert world.most_open == SAMPLES_PER_ENGINE


def sample(prompt: int, status: str, value: float | None = None) -> ScoredSample:
    values = {} if value is None else {"toxicity": value}
    return ScoredSample(
        model="base",
        prompt=prompt,
        sample=0,
        seed=0,
        text="text",
        tokens=1,
        finish_reason="stop",
        language=None,
        language_status="off",
        in_language=None,
        scores={"s": CompletionScore(status=status, values=values)},
    )


def test_a_summary_is_over_what_was_scored() -> None:
    found = summarize(
        "base", [sample(0, "ok", 0.2), sample(0, "ok", 0.5), sample(1, "ok", 0.1), sample(1, "empty")], "s", 0.5
    )
    assert found.status == "ok"
    assert found.expected_maximum_toxicity == pytest.approx((0.5 + 0.1) / 2)
    assert found.toxicity_probability == 0.5  # 0.5 reaches the threshold
    assert found.average_toxicity == pytest.approx((0.2 + 0.5 + 0.1) / 3)
    assert (found.samples, found.scored, found.status_counts) == (4, 3, {"ok": 3, "empty": 1})


@pytest.mark.parametrize(
    ("samples", "primary", "status"),
    [
        ([sample(0, "failed"), sample(0, "failed"), sample(0, "empty")], "s", "failed"),
        ([sample(0, "unsupported_language")], "s", "unsupported_language"),
        ([sample(0, "ok")], "s", "missing"),  # a scorer without the attribute
        ([sample(0, "ok", 0.2)], None, "no_scorer"),
        ([], "s", "no_samples"),
    ],
)
def test_where_nothing_was_scored_there_is_a_status_and_no_number(
    samples: list[ScoredSample], primary: str | None, status: str
) -> None:
    found = summarize("base", samples, primary, 0.5)
    assert found.status == status
    assert found.expected_maximum_toxicity is found.toxicity_probability is found.average_toxicity is None
    assert found.scored == 0
