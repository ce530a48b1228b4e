"""Comparison, scoring and their clients against the real service: vLLM engines and scorers behind Ray Serve."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service import Service

from detox_ray.client import Client, ServiceError
from detox_ray.client.wire_types import CompareResult, DoneEvent, ModelSummary, ScoredSample, TokenEvent
from detox_ray.score.perspective_client import PerspectiveScorer
from detox_ray.score.variants.perspective import PerspectiveConfig

pytestmark = pytest.mark.integration

MODELS = ("base", "lora", "full")
EN = "The king and the queen go to the big garden today and"
AR = "الملك والملكة يذهبان اليوم إلى الحديقة"


@pytest.fixture(scope="module")
def client(service: Service) -> Any:
    with Client(service.url) as speaking:
        yield speaking


@pytest.fixture(scope="module")
def compared(client: Client) -> CompareResult:
    return client.compare([EN, AR], samples=4, seed=3, max_tokens=12)


def test_each_sample_is_scored_by_each_scorer_and_each_model_summed_up(compared: CompareResult) -> None:
    assert tuple(compared.models) == MODELS
    assert [prompt.language for prompt in compared.prompts] == ["en", "ar"]
    for model in MODELS:
        samples = compared.of(model)
        assert [(s.prompt, s.sample, s.seed) for s in samples] == [(p, k, 3 + k) for p in (0, 1) for k in range(4)]
        values = [s.scores["classifier"].values.get("toxicity") for s in samples]
        assert all((v is None) == (s.scores["classifier"].status != "ok") for v, s in zip(values, samples, strict=True))
        summary = compared.summary(model)
        assert (summary.scorer, summary.samples) == ("classifier", 8)
        highest = [max(v for v in values[at : at + 4] if v is not None) for at in (0, 4)]
        assert summary.expected_maximum_toxicity == pytest.approx(sum(highest) / 2)


def test_the_same_request_gives_the_same_comparison_and_its_stream_too(client: Client, compared: CompareResult) -> None:
    events = list(client.stream([EN, AR], samples=4, seed=3, max_tokens=12))
    assert isinstance(events[-1], DoneEvent)
    streamed = {(e.model, e.prompt, e.sample): e for e in events if isinstance(e, ScoredSample)}
    assert {place: e.text for place, e in streamed.items()} == {
        (s.model, s.prompt, s.sample): s.text for s in compared.completions
    }
    for place in streamed:
        grown = [e.text for e in events if isinstance(e, TokenEvent) and (e.model, e.prompt, e.sample) == place]
        assert len(grown) > 1, "a token at a time"
    assert {e.model for e in events if isinstance(e, ModelSummary)} == set(MODELS)


def test_a_model_answers_the_same_alone_and_beside_the_model_that_shares_its_engine(client: Client) -> None:
    together = client.compare(EN, models=["base", "lora"], samples=8, max_tokens=24)
    said = {}
    for model in ("base", "lora"):
        said[model] = [sample.text for sample in client.compare(EN, models=[model], samples=8, max_tokens=24).of(model)]
        assert [sample.text for sample in together.of(model)] == said[model]
    assert said["base"] != said["lora"]


def test_a_comment_has_the_score_that_a_completion_of_the_same_text_has(
    client: Client, compared: CompareResult
) -> None:
    sample = next(s for s in compared.of("base") if s.scores["classifier"].status == "ok")
    found = client.analyze(sample.text, ["TOXICITY", "TOXICITY@insults"], languages=["en"])
    for attribute, scorer in (("TOXICITY", "classifier"), ("TOXICITY@insults", "insults")):
        assert found.values[attribute] == pytest.approx(sample.scores[scorer].values["toxicity"], abs=1e-5)


def test_a_prompt_that_is_too_long_is_refused_and_named(client: Client) -> None:
    with pytest.raises(ServiceError) as refused:
        client.compare("word " * 3000)
    assert (refused.value.status, refused.value.param) == (400, "prompt")


def test_a_client_that_leaves_a_stream_frees_its_places(service: Service, client: Client) -> None:
    in_engines = "detox_ray_engine_queue"
    before = metric(service, "detox_ray_scored_total", scorer="insults")
    events = client.stream(EN, samples=8, max_tokens=480)
    while not isinstance(next(events), TokenEvent):
        pass
    assert metric(service, in_engines) > 0
    events.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 60
    while metric(service, in_engines):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    finished = metric(service, "detox_ray_scored_total", scorer="insults") - before
    assert finished < 8 * len(MODELS), f"{finished} samples were drawn to their end"


def metric(service: Service, name: str, **labels: str) -> float:
    """Return the sum over the labels that are not named."""
    families = text_string_to_metric_families(httpx.get(f"{service.url}/metrics", timeout=30).text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_googles_client_works_with_another_discovery_url_only(service: Service) -> None:
    discovery = pytest.importorskip("googleapiclient.discovery")
    errors = pytest.importorskip("googleapiclient.errors")
    api = discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey="any",
        discoveryServiceUrl=f"{service.url}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )
    with api:
        body = {"comment": {"text": EN}, "requestedAttributes": {"TOXICITY": {}}, "languages": ["en"]}
        answer = api.comments().analyze(body=body).execute()
        assert 0 <= answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"] <= 1
        with pytest.raises(errors.HttpError) as refused:
            api.comments().analyze(body=body | {"comment": {"text": ""}}).execute()
        assert refused.value.status_code == 400
        assert refused.value.error_details[0]["errorType"] == "COMMENT_EMPTY"


def test_our_own_perspective_scorer_works_with_another_url_only(service: Service, client: Client) -> None:
    config = PerspectiveConfig.model_validate(
        {"name": "p", "type": "perspective", "url": service.url, "queries_per_second": 50}
    )
    scorer = PerspectiveScorer(**config.model_dump(exclude={"type", "languages"}))
    texts = [EN, "you idiot"]
    found = scorer.score(texts, "en")
    expected = [client.analyze(text, languages=["en"]).values["TOXICITY"] for text in texts]
    assert [scores["toxicity"] for scores in found if isinstance(scores, dict)] == pytest.approx(expected, abs=1e-5)


def test_comments_that_come_at_once_are_all_answered(service: Service) -> None:
    bodies = [{"comment": {"text": f"comment {n}"}, "requestedAttributes": {"TOXICITY": {}}} for n in range(40)]
    with httpx.Client(base_url=service.url, timeout=60) as http, ThreadPoolExecutor(len(bodies)) as pool:
        answers = list(pool.map(lambda body: http.post("/v1alpha1/comments:analyze", json=body), bodies))
    assert [answer.status_code for answer in answers] == [200] * 40
