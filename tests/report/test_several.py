"""Several runs on one page: what is ranked together, what is not, and what differs."""

import csv
import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from small_experiment import SCRIPT, content

from detox_ray.report import render_several
from detox_ray.report.results import results

LANGUAGES = ("ar", "en", "ko")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figure files take a second each, and say nothing about what is ranked."""
    for kind in ("tradeoff_files", "difference_files"):
        monkeypatch.setattr(f"detox_ray.report.run_comparison.figure_files.{kind}", lambda *_: {})


def document(shift: float = 0.0, convention: str = "corrected", **changed: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(results(content(LANGUAGES, convention, shift)))
    return {**made, **changed}


def spoken(files: dict[str, bytes]) -> str:
    text = re.sub(r"<style>.*?</style>", "", files["index.html"].decode("utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).replace("\u00a0", " ").split())


def rows(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")))


def test_runs_are_ranked_by_macro_toxicity_and_equal_values_share_a_rank() -> None:
    files = render_several([("worse", document(0.1)), ("better", document())], "Two")
    text = spoken(files)
    ranks = re.findall(r"(\d) (base|detox) (worse|better) (?:base )?0\.\d+ \[", text)
    assert ranks == [("1", "detox", "better"), ("2", "detox", "worse"), ("3", "base", "better"), ("3", "base", "worse")]
    assert "cannot all be ranked together" not in text
    assert "Settings that differ" not in text
    assert files["index.html"].decode().count("<svg") == 2
    figure = files["figures/differences-1.svg"].decode()
    assert figure.index("better: detox − base") < figure.index("worse: detox − base")  # the larger fall first
    assert len(rows(files["tables/differences.csv"])) == 2 * len(
        {(r["metric"], r["scorer"]) for r in rows(files["tables/differences.csv"])}
    )
    drawn = {"figures/tradeoff-1.svg", "figures/tradeoff-1.pdf", "figures/differences-1.pdf"}
    assert drawn | {"tables/models.csv"} <= set(files)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "other",
    [
        document(convention="paper"),
        document(primary_scorer="lexicon"),
        document(identities={"detoxify": "another"}),
        document(languages=["ar", "en"]),
        document(confidence=0.9),
    ],
)
def test_runs_that_measure_differently_are_never_ranked_together(other: dict[str, Any]) -> None:
    text = spoken(render_several([("one", document()), ("other", other)], "Mixed"))
    assert "These runs cannot all be ranked together." in text
    assert len(re.findall(r"1 detox (?:one|other) base", text)) == 2  # each is first of its own ranking


@pytest.mark.usefixtures("undrawn")
def test_settings_that_differ_are_named() -> None:
    other = document(settings={"generate.samples": 25, "generate.temperature": 0.9, "measure.threshold": 0.5})
    text = spoken(render_several([("one", document()), ("two", other)], "Settings"))
    assert "Settings that differ between these runs." in text and "generate.samples 4 25" in text
    assert "generate.temperature 0.9" not in text


@pytest.mark.usefixtures("undrawn")
def test_model_without_a_value_comes_last_without_a_rank() -> None:
    empty = document()
    for row in empty["metrics"]:
        if row["metric"] == "average_toxicity" and row["language"] == "macro" and row["model"] == "detox":
            row |= {"value": None, "ci_low": None, "ci_high": None, "status": "no_language_with_value"}
    text = spoken(render_several([("one", empty)], "One"))
    assert "1 base one" in text and "– detox one base –" in text


@pytest.mark.usefixtures("undrawn")
def test_published_results_stand_beside_and_names_are_escaped() -> None:
    files = render_several([(f"runs/{SCRIPT}", document())], SCRIPT)
    page = files["index.html"].decode()
    assert "<script" not in page and "<img" not in page
    assert "published Li, Yong and Bach 2024 mGPT 0.502 → 0.157" in spoken(files)
    assert "script-src &#39;none&#39;" in page


@pytest.mark.usefixtures("undrawn")
def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="no run"):
        render_several([], "None")
    with pytest.raises(ValueError, match="same name"):
        render_several([("a", document()), ("a", document())], "Twice")
    old = document()
    del old["settings"]
    with pytest.raises(ValueError, match=r"runs/old: not a results\.json .* it has no settings"):
        render_several([("runs/old", old)], "Old")


@pytest.mark.usefixtures("undrawn")
def test_run_without_a_compared_pair_is_ranked_all_the_same() -> None:
    whole = content(LANGUAGES)
    alone = replace(whole, compare=[], comparisons=whole.comparisons.slice(0, 0))
    text = spoken(render_several([("only", json.loads(results(alone)))], "No pair"))
    assert "What tuning changed" not in text and "1 detox only 0." in text
