"""Scorers without a model: the Perspective API from one process, without Ray."""

import asyncio
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fake_gateway import client_of
from googleapiclient import discovery
from googleapiclient.errors import HttpError
from service import Service, serving

from detox_ray.config import ConfigError
from detox_ray.serve import manifests, spec
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http.gateway import Gateway
from detox_ray.serve.local_scoring import is_local, local_scoring
from detox_ray.serve.workers.text_batches import TextBatches

CLIENTS = 32
READY_S = 10  # from the command's own clock, which starts once its modules are imported
GOOGLES_QUOTA = 1.0  # queries a second, by default


@pytest.fixture(scope="module")
def scorers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a YAML file with two scorers, the second of which answers first."""
    folder = tmp_path_factory.mktemp("scorers")
    entries = []
    for name, words in (("first", {"en": ["idiot"]}), ("second", {"en": ["liar"], "de": ["lügner"]})):
        (folder / f"{name}-words.yaml").write_text(yaml.safe_dump(words), encoding="utf-8")
        entries.append({"name": name, "type": "lexicon", "path": str(folder / f"{name}-words.yaml")})
    file = folder / "scorers.yaml"
    file.write_text(yaml.safe_dump({"scorers": entries, "primary": "second"}), encoding="utf-8")
    return file


def comment(text: str, attribute: str = "TOXICITY", language: str = "en") -> dict[str, Any]:
    return {"comment": {"text": text}, "requestedAttributes": {attribute: {}}, "languages": [language]}


def test_scorers_are_served_in_this_process(scorers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    args = spec.arguments(None, (), [str(scorers)], ["port=0"])
    resolved = spec.resolve(args)
    assert is_local(resolved) and resolved.engines == [] and resolved.primary == "second"
    assert not is_local(spec.resolve(spec.arguments(None, (), [str(scorers)], ["scoring.replicas=2"])))
    app = fastapi_app(Gateway(resolved, {}, local_scoring(resolved)))  # type: ignore[arg-type]

    async def go() -> list[httpx.Response]:
        async with client_of(app) as http:
            bodies = [
                comment("you liar"),
                comment("you liar", "TOXICITY@first"),
                comment("du Lügner", language="de"),
                comment("menteur", language="fr"),
            ]
            answers = [await http.post("/v1alpha1/comments:analyze", json=body) for body in bodies]
            paths = ("/readyz", "/v1/models", "/", "/scorers.json")
            return [*answers, *[await http.get(path) for path in paths]]

    liar, by_first, german, french, ready, models, home, cards = asyncio.run(go())
    values = [
        answer.json()["attributeScores"][name]["summaryScore"]["value"]
        for answer, name in ((liar, "TOXICITY"), (by_first, "TOXICITY@first"), (german, "TOXICITY"))
    ]
    assert values == [1.0, 0.0, 1.0]
    assert french.status_code == 400 and "fr" in french.json()["error"]["message"]
    assert ready.json()["status"] == "ready" and models.json()["data"] == []
    assert home.status_code == 307 and home.headers["location"] == "/scorers"
    first, second = cards.json()
    assert first["name"] == "first" and first["languages"] == ["en"] and first["licence"] == "the user's"
    assert second["attributes"] == {"toxicity": "1 if the text contains an insult of the list, else 0"}


def test_the_manifest_holds_the_definitions(scorers: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path))
    args = spec.arguments(None, (), [str(scorers)], ())
    config = manifests.serve_config(args)
    held = spec.ServeArgs.model_validate(config["applications"][0]["args"])
    assert [scorer.name for scorer in spec.resolve(held).scorers] == ["first", "second"]
    assert "replicas: 1" in manifests.to_yaml(manifests.ray_service(args, spec.resolve(args), "image"))


def test_neither_a_run_nor_a_model_nor_a_scorer_is_refused() -> None:
    with pytest.raises(ConfigError, match="give either RUN"):
        spec.arguments(None, (), (), ())


def test_a_batch_holds_what_arrives_together_and_its_error_reaches_each_caller() -> None:
    sizes: list[int] = []

    async def answer(queries: list[int]) -> list[int]:
        sizes.append(len(queries))
        if 13 in queries:
            raise ValueError("thirteen")
        await asyncio.sleep(0.01)
        return [2 * query for query in queries]

    async def go() -> None:
        batches = TextBatches(answer, size=4, wait_s=0.05)
        assert await asyncio.gather(*map(batches.ask, range(6))) == [0, 2, 4, 6, 8, 10]
        assert sizes == [4, 2]
        cancelled = asyncio.ensure_future(batches.ask(1))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert await batches.ask(5) == 10
        assert sizes[2:] == [1]
        results = await asyncio.gather(batches.ask(12), batches.ask(13), return_exceptions=True)
        assert [str(result) for result in results] == ["thirteen", "thirteen"]
        started = time.monotonic()
        assert await asyncio.gather(*map(batches.ask, range(4))) == [0, 2, 4, 6]
        assert time.monotonic() - started < 0.05, "a full batch waits for nobody"

    asyncio.run(go())


@pytest.fixture(scope="module")
def service(scorers: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETOX_RAY_CACHE", str(folder / "cache"))
        with serving(f"--scorer={scorers}", folder / "log") as started:
            yield started


@pytest.mark.integration
def test_googles_own_client_gets_answers_in_seconds(service: Service) -> None:
    said = service.log.read_text()
    assert int(said.partition("answers after ")[2].partition(" s")[0]) <= READY_S
    client = discovery.build(
        "commentanalyzer",
        "v1alpha1",
        developerKey="none",
        discoveryServiceUrl=f"{service.url}/$discovery/rest?version=v1alpha1",
        static_discovery=False,
    )
    answer = client.comments().analyze(body=comment("you liar")).execute()
    assert answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == 1.0
    with pytest.raises(HttpError) as refused:
        client.comments().analyze(body=comment("menteur", language="fr")).execute()
    assert refused.value.resp.status == 400


@pytest.mark.integration
def test_32_clients_get_far_more_than_googles_quota(service: Service) -> None:
    seconds: list[float] = []
    lock = threading.Lock()

    def ask(number: int) -> None:
        with httpx.Client(base_url=service.url) as http:
            for text in range(10):
                started = time.monotonic()
                response = http.post("/v1alpha1/comments:analyze", json=comment(f"you liar {number} {text}"))
                assert response.status_code == 200
                with lock:
                    seconds.append(time.monotonic() - started)

    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
    rate = len(seconds) / (time.monotonic() - started)
    p99 = statistics.quantiles(seconds, n=100)[98]
    print(f"{rate:.0f} texts a second, p99 {1000 * p99:.0f} ms; Google's default quota: {GOOGLES_QUOTA:g} a second")
    assert rate > 20 * GOOGLES_QUOTA
