"""Text to train on: which rows of the published files are used, their parts, limits and errors."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detox_ray.config import ConfigError, CorpusConfig
from detox_ray.config.loading import validate
from detox_ray.data import DataError, Rows, read_corpus
from detox_ray.data.readers import read_originals
from detox_ray.storage.tables import CORPUS

Write = Callable[..., Path]


def corpus(source: Any, path: Path, on_error: Any = "stop", **fields: Any) -> Rows:
    return read_corpus(CorpusConfig(source=source, path=str(path), **fields), on_error)


def jigsaw(path: Path, score: str, rows: list[tuple[str, Any]]) -> Path:
    path.write_text(
        "".join([f"id,comment_text,{score},obscene\n", *(f'1,"{text}",{value},0.9\n' for text, value in rows)])
    )
    return path


def test_jigsaw_keeps_comments_below_a_toxicity_of_a_tenth(tmp_path: Path) -> None:
    rows = [("mild", 0.0999), ("at it", 0.1), ("harsh", 0.8), ("none", 0.0), ("", 0.0)]
    read = corpus("jigsaw-unintended-bias", jigsaw(tmp_path / "mine.csv", "target", rows))
    assert read.table.schema == CORPUS.columns
    assert read.table.to_pylist() == [
        {"text_id": "en-00000", "text": "mild", "source": "jigsaw-unintended-bias", "split": "train"},
        {"text_id": "en-00003", "text": "none", "source": "jigsaw-unintended-bias", "split": "train"},
    ]
    assert read.skipped == []
    assert read.notes == [
        "mine.csv: 2 rows with a toxicity of 0.1 or more left out",
        "mine.csv: 1 rows with no comment_text left out",
    ]


def test_jigsaws_folder_validates_with_its_private_test_file(tmp_path: Path) -> None:
    """Neplenbroek et al. 2025 take test_private_leaderboard, where the score is called toxicity."""
    jigsaw(tmp_path / "train.csv", "target", [("a", 0.0), ("b", 0.5), ("c", 0.05)])
    jigsaw(tmp_path / "test_private_expanded.csv", "toxicity", [("d", 0.5), ("e", 0.0)])
    jigsaw(tmp_path / "test_public_expanded.csv", "toxicity", [("f", 0.0)])
    (tmp_path / "identity_individual_annotations.csv").write_text("id,worker\n1,2\n")
    table = corpus("jigsaw-unintended-bias", tmp_path).table
    assert list(zip(*(table[name].to_pylist() for name in ("text_id", "text", "split")), strict=True)) == [
        ("en-00000", "a", "train"),
        ("en-00002", "c", "train"),
        ("en-00001-validation", "e", "validation"),
    ]


def test_originals_are_what_the_texts_were_rewritten_from_row_by_row(tmp_path: Path) -> None:
    rows = [{"original": f"he {i}", "perturbed": f"she {i}"} for i in range(3)]
    (tmp_path / "panda.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = CorpusConfig(source="panda", path=str(tmp_path / "panda.jsonl"), limit=2)
    rewritten, originals = read_corpus(config, "stop").table, read_originals(config, "stop").table
    assert rewritten["text"].to_pylist() == ["she 0", "she 1"] and originals["text"].to_pylist() == ["he 0", "he 1"]
    assert originals.drop_columns("text") == rewritten.drop_columns("text")


def test_the_built_in_world_has_originals_only_with_a_stereotype(toy_world: Path, tmp_path: Path) -> None:
    config = CorpusConfig(source="toy17", limit=20)
    with pytest.raises(DataError, match="must be stereotype"):
        read_originals(config, "stop", toy_world)
    description = json.loads((toy_world / "world.json").read_text())
    description["size"]["mixture"]["stereotype"] = 0.97
    (tmp_path / "world.json").write_text(json.dumps(description))
    rewritten = read_corpus(config, "stop", tmp_path).table["text"].to_pylist()
    originals = read_originals(config, "stop", tmp_path).table["text"].to_pylist()
    assert len(rewritten) == len(originals) == 20
    assert sum(a != b for a, b in zip(rewritten, originals, strict=True)) > 3


@pytest.mark.parametrize("score", ["", "high", "1.5", "-0.1", "nan"])
def test_a_comment_without_a_score_is_a_bad_row(tmp_path: Path, score: str) -> None:
    path = jigsaw(tmp_path / "train.csv", "target", [("a", 0.0), ("b", score)])
    reason = r"train\.csv:3: target \(in the test files: toxicity\) must be a number from 0 to 1"
    with pytest.raises(DataError, match=reason):
        corpus("jigsaw-unintended-bias", path)
    assert corpus("jigsaw-unintended-bias", path, "skip").table["text"].to_pylist() == ["a"]


def test_panda_reads_the_perturbed_texts_of_all_shards(tmp_path: Path) -> None:
    for part, count in (("train-00000-of-00002", 3), ("train-00001-of-00002", 2), ("validation-00000-of-00001", 1)):
        rows = [{"original": "x", "perturbed": f"{part[:14]} {i}", "selected_word": "y"} for i in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{part}.parquet")
    table = corpus("panda", tmp_path, limit=4).table
    assert table["text_id"].to_pylist() == ["en-00000", "en-00001", "en-00002", "en-00003", "en-00000-validation"]
    assert table["text"].to_pylist()[2:4] == ["train-00000-of 2", "train-00001-of 0"]


def test_reading_stops_at_the_limit_of_usable_rows(write_lines: Write) -> None:
    rows = [{"text": "a"}, b"{", {"text": "b"}, {"text": "c"}, b"{"]
    read = corpus("file", write_lines("mine.jsonl", rows), "skip", limit=2)
    assert read.table["text"].to_pylist() == ["a", "b"]
    assert len(read.skipped) == 1  # the second bad row lies behind


def test_own_text_without_a_language_is_in_the_requested_one(write_lines: Write) -> None:
    rows = [{"text": "a"}, {"text": "b", "language": "fr"}, {"text": "c", "language": "sv"}]
    read = corpus("file", write_lines("mine.jsonl", rows), language="sv")
    assert read.table["text"].to_pylist() == ["a", "c"]
    assert "'fr': 1" in read.notes[0]


def test_an_empty_text_in_peoples_own_file_is_a_bad_row(write_lines: Write) -> None:
    with pytest.raises(DataError, match=r"mine\.jsonl:2: text is empty"):
        corpus("file", write_lines("mine.jsonl", [{"text": "a"}, {"text": " "}]))


def test_a_missing_column_is_named_beside_those_that_are_there(write_lines: Write) -> None:
    path = write_lines("panda.jsonl", [{"original": "a", "text": "b"}] * 3)
    with pytest.raises(DataError) as caught:
        corpus("panda", path)
    assert str(caught.value) == (
        f"{path}: no row has a 'perturbed'; every row needs perturbed (columns: original, text)"
    )


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["panda.jsonl"], r"holds no train\* file"),
        (["training.jsonl"], r"holds no train\* file"),
        (["train.jsonl", "train.csv"], "the same part in several formats"),
        ([], r"holds no train\* file"),
    ],
)
def test_a_folder_with_an_ambiguous_part_is_refused(
    write_lines: Write, tmp_path: Path, names: Any, reason: str
) -> None:
    for name in names:
        write_lines(f"data/{name}", [{"perturbed": "a"}])
    (tmp_path / "data").mkdir(exist_ok=True)
    with pytest.raises(DataError, match=reason):
        corpus("panda", tmp_path / "data")


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_no_text_to_train_on_is_an_error_even_with_validation_rows(
    write_lines: Write, tmp_path: Path, on_error: str
) -> None:
    write_lines("train.jsonl", [{"text": "a", "language": "fr"}])
    write_lines("validation.jsonl", [{"text": "b"}])
    with pytest.raises(DataError, match="has no training text in language en"):
        corpus("file", tmp_path, on_error)
    write_lines("train.jsonl", [b"{"])
    with pytest.raises(DataError, match="is not JSON"):
        corpus("file", tmp_path, on_error)


def test_toy17_learns_from_the_harmless_side_of_its_pairs(write_lines: Write, tmp_path: Path) -> None:
    write_lines("pairs.jsonl", [{"prompt": "a", "chosen": " good", "rejected": " bad"}])
    write_lines("texts.jsonl", [{"text": "held out", "language": "en"}])
    (tmp_path / "world.json").write_text(json.dumps({"seed": 0, "size": {"mixture": {}}}))
    table = read_corpus(CorpusConfig(source="toy17"), "stop", tmp_path).table
    assert table.select(["text", "split"]).to_pylist() == [{"text": " good", "split": "train"}]
    with pytest.raises(DataError, match=r"data\.corpus\.language: toy17's pairs are in English"):
        read_corpus(CorpusConfig(source="toy17", language="fr"), "stop", tmp_path)


def test_an_experiment_says_what_originals_and_the_world_with_a_stereotype_need(tmp_path: Path) -> None:
    raw = {
        "name": "mine",
        "data": {"texts": {"source": "file", "path": "texts.jsonl"}, "world": "stereotype"},
        "models": {
            "base": {"path": "gpt2"},
            "twin": {"train": {"parent": "base", "method": "sft", "train_on": "originals"}},
        },
    }
    with pytest.raises(ConfigError) as error:
        validate(raw)
    assert {problem.field for problem in error.value.problems} == {"data.corpus", "data.world"}
    raw["data"] = {**raw["data"], "world": "plain", "corpus": {"source": "jigsaw-unintended-bias", "path": "x"}}  # type: ignore[dict-item]
    with pytest.raises(ConfigError, match=r"data\.corpus\.source: must be one of file, panda, toy17"):
        validate(raw)
