"""From an archive to a calibrated successor: agreement's table, page and map."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from perspective_server import Answer, serve
from playwright.sync_api import Browser
from scipy import stats
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.cluster.progress import Progress
from detox_ray.score.variants.perspective import PerspectiveConfig
from detox_ray.text_files import archive
from detox_ray.text_files.inventory import ArchiveRequest

N = 300


def invoke(*arguments: object) -> Result:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result


class World:
    """Texts with a value by Perspective and one by its successor, and the files of both."""

    def __init__(self, folder: Path):
        random = np.random.default_rng(0)
        truth = random.random((2, N))
        self.perspective = np.clip(truth + random.normal(0, 0.03, truth.shape), 0, 1)
        self.successor = np.clip(truth**2 + random.normal(0, 0.03, truth.shape), 0, 1)
        self.texts = [[f"{'<b>text</b>' if code == 'en' else 'texte'} {n}" for n in range(N)] for code in ("en", "fr")]
        self.folder, self.archive, self.scores = folder, folder / "archive", folder / "scores.parquet"
        rows = [
            {"text": text, "language": code, "label": int(truth[place, n] > 0.5)}
            for place, code in enumerate(("en", "fr"))
            for n, text in enumerate(self.texts[place])
        ]
        self.file = folder / "texts.jsonl"
        self.file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        table = [
            {"text": text, "language": code, "toxicity": float(value)}
            for place, code in enumerate(("en", "fr"))
            for text, value in zip(self.texts[place], self.successor[place], strict=True)
        ]
        (folder / "successor.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("agreement")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETOX_RAY_CACHE", str(folder / "cache"))
        made = World(folder)
        value_of = {
            text: float(value)
            for texts, values in zip(made.texts, made.perspective, strict=True)
            for text, value in zip(texts, values, strict=True)
        }

        def reply(body: dict[str, Any]) -> Answer:
            score = {"summaryScore": {"value": value_of[body["comment"]["text"]]}}
            return Answer(200, json.dumps({"attributeScores": {"TOXICITY": score}}).encode())

        with serve(otherwise=reply) as server:
            service = PerspectiveConfig(name="archive", type="perspective", url=server.url, queries_per_second=2000.0)
            archive.run(ArchiveRequest([made.file], str(made.archive), service), Progress())
        option = f"successor={folder / 'successor.jsonl'}"
        invoke("score-file", made.file, "--scorer", option, "--keep", "label", "--out", made.scores)
        yield made


def test_the_table_and_the_map(world: World, tmp_path: Path) -> None:
    out, map_file = tmp_path / "page", tmp_path / "calibration.json"
    options = ("--out", out, "--label-column", "label", "--calibrate", map_file)
    said = invoke("agreement", world.archive, world.scores, *options).output
    assert "en: n 300, Spearman 0.9" in said and "fr: n 300" in said
    with (out / "agreement.csv").open(newline="") as stream:
        rows = {(row["language"], row["statistic"], row["threshold"]): row for row in csv.DictReader(stream)}
    for place, code in enumerate(("en", "fr")):
        a, b = world.perspective[place], world.successor[place]
        assert float(rows[code, "spearman", ""]["value"]) == pytest.approx(stats.spearmanr(a, b).statistic)
        assert float(rows[code, "mean_difference", ""]["value"]) == pytest.approx((b - a).mean())
        threshold = float(rows[code, "same_share_threshold", "0.5"]["value"])
        assert (b >= threshold).sum() == (a >= 0.5).sum() and threshold < 0.35
        assert float(rows[code, "same_precision_threshold", "0.5"]["value"]) < 0.4
    # The map makes a scorer whose values are Perspective's scale.
    entries = [
        {"name": "successor", "type": "stored", "path": str(world.folder / "successor.jsonl")},
        {"name": "calibrated", "type": "calibrated", "of": "successor", "path": str(map_file)},
    ]
    (tmp_path / "calibrated.yaml").write_text(yaml.safe_dump({"scorers": entries}))
    invoke("score-file", world.file, "--scorer", tmp_path / "calibrated.yaml", "--out", tmp_path / "after.parquet")
    values = np.array(pq.read_table(tmp_path / "after.parquet")["calibrated.toxicity"].to_pylist()).reshape(2, N)
    assert np.abs(values - world.perspective).mean() < 0.04 < 0.1 < np.abs(world.successor - world.perspective).mean()


def test_a_map_needs_a_scorer_with_an_identity(world: World, tmp_path: Path) -> None:
    options = ["agreement", str(world.scores), str(world.archive), "--calibrate", str(tmp_path / "map.json")]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 2 and "holds the identity of B's scorer" in result.stderr


def test_sources_that_are_none_are_named(world: World, tmp_path: Path) -> None:
    for source, rule in (
        (tmp_path / "nothing", "must be an archive's folder"),
        (f"{world.scores}:other", "give one of its scorers as :NAME (successor)"),
        (world.folder / "successor.parquet", "must be a Parquet file that `detox-ray score-file` wrote"),
    ):
        result = CliRunner().invoke(app, ["agreement", str(world.archive), str(source), "--out", str(tmp_path)])
        assert result.exit_code == 2 and rule in result.stderr


@pytest.mark.integration
def test_the_page_is_self_contained_and_veils_texts(world: World, tmp_path: Path, browser: Browser) -> None:
    invoke("agreement", world.archive, world.scores, "--out", tmp_path)
    page = browser.new_page()
    asked: list[str] = []
    problems: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "index.html").as_uri())
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == [] and problems == []
    page.locator("summary").first.click()
    veiled = page.locator("button.veil").first
    assert veiled.get_attribute("aria-label") == "Blurred text: activate to show"
    assert "blur" in veiled.locator("bdi").evaluate("node => getComputedStyle(node).filter")
    assert "<b>text</b>" in (veiled.text_content() or "")  # escaped, not made bold
    veiled.click()
    assert veiled.locator("bdi").evaluate("node => getComputedStyle(node).filter") == "none"
    assert page.locator("svg.plot").count() == 4
    page.close()
