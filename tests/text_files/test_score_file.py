"""Scoring a file of texts: a row for each row, whatever its language or faults; resumable, in bounded memory."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from perspective_server import Reply, error, scores, serve
from typer.testing import CliRunner, Result

from detox_ray.cli import app
from detox_ray.config import ConfigError, ScoreConfig
from detox_ray.score import resolve
from detox_ray.score.cached_scorer import CachedScorer
from detox_ray.storage import Store
from detox_ray.text_files import score_tables
from detox_ray.text_files.scored_file import scorers_of
from detox_ray.text_files.scorer_options import definition_at, scorer_config

WORDS = {"en": ["idiot"], "de": ["lügner"], "ja": ["ばか"]}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def lexicons(tmp_path: Path) -> Path:
    """Return a YAML file of two lexicons and their mean."""
    entries: list[dict[str, Any]] = []
    for name, languages in (("words", list(WORDS)), ("english", ["en"])):
        path = tmp_path / f"{name}-words.yaml"
        path.write_text(yaml.safe_dump({code: WORDS[code] for code in languages}), encoding="utf-8")
        entries.append({"name": name, "type": "lexicon", "path": str(path)})
    entries.append({"name": "mean", "type": "ensemble", "members": ["words", "english"]})
    file = tmp_path / "scorers.yaml"
    file.write_text(yaml.safe_dump({"scorers": entries}), encoding="utf-8")
    return file


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["score-file", *map(str, arguments)], input=stdin)


def scored(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


ROWS: list[Any] = [
    {"id": 1, "text": "you idiot", "language": "en"},
    {"id": 2, "text": "du Lügner", "language": "de-AT"},
    {"id": 3, "text": "so ein netter Mensch, wirklich", "language": ""},
    {"id": 4, "text": " ", "language": "en"},
    {"id": 5, "text": 7, "language": "en"},
    {"id": 6, "text": "habari", "language": "sw"},
    {"id": 7, "text": "fine", "language": "!"},
    {"id": 8, "text": "kind", "language": "en"},
]


def test_every_row_has_a_status_and_no_value_without_ok(
    tmp_path: Path, lexicons: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr("detox_ray.text_files.file_units.ROWS_PER_UNIT", 3)  # several blocks, and several shards
    out = tmp_path / "scores.parquet"
    result = run(write(tmp_path / "a.jsonl", ROWS), "--scorer", lexicons, "--out", out, "--keep", "id")
    assert result.exit_code == 0, result.stderr
    rows = scored(out)
    assert [row["id"] for row in rows] == [str(number) for number in range(1, 9)]
    assert [row["row"] for row in rows] == list(range(8))
    assert [row["language"] for row in rows] == ["en", "de", "de", "en", None, "sw", None, "en"]
    assert [row["language_identified"] for row in rows] == [False, False, True] + [False] * 5
    unsupported, ok, empty, failed = "unsupported_language", "ok", "empty", "failed"
    assert [row["words.status"] for row in rows] == [ok, ok, ok, empty, failed, unsupported, failed, ok]
    assert [row["english.status"] for row in rows] == [
        *(ok, unsupported, unsupported, empty, failed, unsupported, failed, ok)
    ]
    assert [row["mean.status"] for row in rows] == [row["english.status"] for row in rows]
    assert [row["words.toxicity"] for row in rows] == [1.0, 1.0, 0.0, None, None, None, None, 0.0]
    assert [row["mean.toxicity"] for row in rows] == [1.0, None, None, None, None, None, None, 0.0]
    assert [row["reason"] for row in rows if row["reason"]] == [
        "text must be text, not a number",
        "language must be a language tag, such as en or pt-BR",
    ]
    for name in ("words", "english", "mean"):
        assert all((row[f"{name}.toxicity"] is not None) == (row[f"{name}.status"] == ok) for row in rows)
    assert "words: ok 4, empty 1, failed 2, unsupported_language 1" in result.stderr
    facts = {scorer.name: scorer for scorer in scorers_of(out)}
    assert facts["english"].languages == ["en"] and facts["english"].attributes == ["toxicity"]
    assert list((cache / "score-file").iterdir()) == []  # the texts do not stay behind


def test_standard_input_to_standard_output_and_csv(tmp_path: Path, lexicons: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS[:2])
    result = run("-", "--scorer", lexicons, stdin=lines)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["text"], row["words.toxicity"]) for row in rows] == [("you idiot", 1.0), ("du Lügner", 1.0)]
    table = tmp_path / "texts.csv"
    table.write_text('comment,lang\n"kind, really",en\nyou idiot,en\n', encoding="utf-8")
    options = ("--text-column", "comment", "--language-column", "lang", "--out", tmp_path / "out.csv")
    assert run(table, "--scorer", lexicons, *options).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["text"], row["words.toxicity"]) for row in rows] == [("kind, really", "0.0"), ("you idiot", "1.0")]


def test_scores_are_those_of_the_score_stage(tmp_path: Path, lexicons: Path) -> None:
    texts = [f"{'idiot' if number % 3 else 'friend'} {number}" for number in range(50)]
    file = write(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    out = tmp_path / "scores.parquet"
    assert run(file, "--scorer", lexicons, "--language", "en", "--out", out).exit_code == 0
    store = Store.at(str(tmp_path / "run"))
    scorer = resolve(scorer_config([str(lexicons)]).scorers[0], None, store)
    expected = CachedScorer(scorer, 1024, store).score(texts, "en", "part")
    assert [row["words.toxicity"] for row in scored(out)] == expected.values["toxicity"]


def test_a_service_that_goes_down_is_asked_only_for_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detox_ray.text_files.file_units.ROWS_PER_UNIT", 10)
    file = write(tmp_path / "a.jsonl", [{"text": f"text {number % 30}", "language": "en"} for number in range(40)])
    down = True

    def reply(body: dict[str, Any]) -> Reply:
        return error(403, "revoked") if down and body["comment"]["text"] == "text 25" else scores("TOXICITY")

    with serve(otherwise=reply) as server:
        entry = {"name": "remote", "type": "perspective", "url": server.url, "queries_per_second": 500.0}
        config = tmp_path / "remote.yaml"
        config.write_text(yaml.safe_dump({"scorers": [entry]}), encoding="utf-8")
        first = run(file, "--scorer", config, "--out", tmp_path / "scores.parquet")
        assert first.exit_code == 1 and "revoked" in first.stderr
        assert not (tmp_path / "scores.parquet").exists()
        down = False
        second = run(file, "--scorer", config, "--out", tmp_path / "scores.parquet")
        assert second.exit_code == 0, second.stderr
        times = [server.times(f"text {number}") for number in range(30)]
    assert times[:20] == [1] * 20, "units that were committed, and their texts, are not asked again"
    assert {row["remote.status"] for row in scored(tmp_path / "scores.parquet")} == {"ok"}


def test_options_name_ready_scorers_paths_and_yaml_files(tmp_path: Path, lexicons: Path) -> None:
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "archive.json").write_text("{}")
    assert definition_at(str(tmp_path / "archive"))["format"] == "archive"
    assert definition_at("scores.csv") == {"type": "stored", "path": "scores.csv"}
    assert definition_at("best.ckpt")["type"] == "detoxify" and definition_at("words.yaml")["type"] == "lexicon"
    (tmp_path / "exported" / "onnx").mkdir(parents=True)
    (tmp_path / "exported" / "onnx" / "model.onnx").touch()
    assert (
        definition_at(str(tmp_path / "exported"))["type"] == "onnx" and definition_at("org/m")["type"] == "classifier"
    )
    config = scorer_config(["textdetox-xlmr", "mine=org/model", str(lexicons)])
    assert config.names == ["textdetox-xlmr", "mine", "words", "english", "mean"]
    assert isinstance(config, ScoreConfig)
    with pytest.raises(ConfigError, match="each name may occur only once"):
        scorer_config([str(lexicons), str(lexicons)])


@pytest.mark.parametrize("language", [{}, {"language": "fr"}])
def test_white_space_is_empty_in_any_language(tmp_path: Path, lexicons: Path, language: dict[str, str]) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": " ", **language}, {"text": "an idiot", "language": "en"}])
    result = run(file, "--scorer", lexicons)
    assert [json.loads(line)["words.status"] for line in result.stdout.splitlines()] == ["empty", "ok"]


def test_standard_input_in_another_format_is_wrong_input(lexicons: Path) -> None:
    result = run("-", "--scorer", lexicons, stdin="text,language\nhello,en\n")
    assert result.exit_code == 2
    assert "no row can be read; the first: " in result.stderr
    assert "standard-input.jsonl:1: is not JSON" in result.stderr


def test_an_output_that_cannot_be_written_is_found_before_anything_is_scored(tmp_path: Path, lexicons: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "a", "language": "en"}])
    (tmp_path / "folder.csv").mkdir()
    for out, reason in ((Path("/proc/none/o.csv"), "No such file"), (tmp_path / "folder.csv", "it is a folder")):
        result = run(file, "--scorer", lexicons, "--out", out)
        assert result.exit_code == 2
        assert f"--out: cannot be written: {reason}" in result.stderr and "score:" not in result.stderr


def test_wrong_options_are_said_at_once(tmp_path: Path) -> None:
    result = run(tmp_path / "none.csv", "--scorer", "unknown", "--out", tmp_path / "o.parquet", "--keep", "text")
    assert result.exit_code == 2
    for part in ("must be an existing file", "unknown scorer", "has a column of this name"):
        assert part in result.stderr
    file = write(tmp_path / "a.jsonl", [{"text": "a"}])
    assert "--out" in run(file, "--scorer", "toy17-lexicon", "--out", tmp_path / "o.xlsx").stderr


def test_a_shard_is_read_only_when_its_rows_are_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.at(str(tmp_path / "work"))
    units = []
    for shard in range(3):
        unit = score_tables.FILE_SCORES.unit(scorer="s", language="en", shard=shard)
        columns = {"row": [2 * shard, 2 * shard + 1], "attribute": ["toxicity"] * 2, "value": [0.1 * shard, None]}
        rows = pa.table({**columns, "status": ["ok", "failed"]}, schema=score_tables.FILE_SCORES.columns)
        store.commit(unit, "key", rows)
        units.append((unit, "key"))
    read: list[int] = []
    original = store.read
    monkeypatch.setattr(store, "read", lambda unit, key: (read.append(unit.shard), original(unit, key))[1])
    scores_of = score_tables.LanguageScores(store, units)
    pieces = list(scores_of.take(3))
    assert [len(piece.statuses) for piece in pieces] == [2, 1] and read == [0, 1]
    assert [piece.statuses for piece in scores_of.take(3)] == [["failed"], ["ok", "failed"]]


@pytest.mark.integration
def test_actors_on_ray_give_the_same_file(tmp_path: Path, lexicons: Path, ray_cluster: object) -> None:
    file = write(tmp_path / "a.jsonl", ROWS)
    assert run(file, "--scorer", lexicons, "--out", tmp_path / "here.parquet").exit_code == 0
    result = run(file, "--scorer", lexicons, "--out", tmp_path / "ray.parquet", "--actors", "2")
    assert result.exit_code == 0, result.stderr
    assert pq.read_table(tmp_path / "ray.parquet").equals(pq.read_table(tmp_path / "here.parquet"))


@pytest.mark.slow
def test_a_million_texts_take_bounded_memory_and_resume(tmp_path: Path, lexicons: Path) -> None:
    file = tmp_path / "million.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for number in range(1_000_000):
            word = "idiot" if number % 7 == 0 else "friend"
            stream.write(f'{{"text": "{word} {number}", "language": "{("en", "de", "ja")[number % 3]}"}}\n')
    out = tmp_path / "scores.parquet"
    command = [sys.executable, "-m", "detox_ray", "score-file", str(file), "--scorer", str(lexicons), "--out", str(out)]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, stderr=subprocess.DEVNULL)

    killed = start()
    commits = tmp_path / "cache" / "score-file"
    while not list(commits.glob("*/commits/file_scores/scorer=words/language=de/00020-*")):
        assert killed.poll() is None
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    done = {path.name for path in commits.glob("*/commits/file_scores/*/*/*.json")}
    # A child begins with its parent's peak, which other tests have raised: a small process between the two measures.
    measured = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)"
    measured += "; print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    peak = subprocess.run([sys.executable, "-c", measured, *command], check=True, stdout=subprocess.PIPE, text=True)
    assert done
    peak_mib = int(peak.stdout) / 1024
    print(f"peak {peak_mib:.0f} MiB")
    assert peak_mib < 1000
    table = pq.read_table(out, columns=["row", "words.toxicity", "english.status"])
    assert table["row"].to_pylist() == list(range(1_000_000))
    assert table["words.toxicity"].to_pylist() == [float(number % 7 == 0) for number in range(1_000_000)]
