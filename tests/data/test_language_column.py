"""The language of a row: tags, other languages than the requested ones, and rows without a language."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detox_ray.config import CorpusConfig, PairsConfig, PromptsConfig, TextsConfig, ValidityConfig
from detox_ray.data import DataError, Rows, read_corpus, read_labelled, read_pairs, read_prompts, read_texts


def prompts(path: Path, languages: Sequence[str]) -> dict[str, Rows]:
    return read_prompts(PromptsConfig(source="file", path=str(path)), languages, "stop")


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


TAGS = {
    "EN": "en",
    "en-US": "en",
    "zh-Hans": "zh",
    "zh-CN": "zh",
    "pt_BR": "pt",
    "pt-PT": "pt",
    "eng": "en",
    "en": "en",
}


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_language_tags_are_read_and_noted(write_lines: Callable[..., Path], tmp_path: Path, format_: str) -> None:
    rows = [{"text": tag, "language": tag} for tag in TAGS] + [{"text": "a", "language": "xx"}]
    path = write_lines("m.jsonl", rows) if format_ == "jsonl" else as_parquet(tmp_path / "m.parquet", rows)
    read = prompts(path, ["en", "zh", "pt"])
    for language, found in read.items():
        assert found.table["text"].to_pylist() == [tag for tag, code in TAGS.items() if code == language]
    assert read["en"].notes == [
        f"{path}: language tags read: 'EN' (1), 'en-US' (1), 'eng' (1) as en; 'pt-PT' (1), 'pt_BR' (1) as pt; "
        "'zh-CN' (1), 'zh-Hans' (1) as zh",
        f"{path}: left out rows in languages that the experiment does not name ('xx': 1)",
    ]


def test_the_languages_of_a_file_are_named_if_the_requested_one_is_missing(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"text": "a", "language": "English"}, {"text": "b", "language": "tr"}])
    with pytest.raises(DataError) as caught:
        prompts(path, ["en"])
    assert str(caught.value) == (
        f"{path}: holds no usable prompts in language en (its rows are in 'English': 1, 'tr': 1): "
        "add some, or ask for other `languages`"
    )


def test_nan_is_a_missing_language(tmp_path: Path) -> None:
    table = pa.table({"text": ["a"], "language": pa.array([float("nan")])})
    pq.write_table(table, tmp_path / "mine.parquet")
    assert prompts(tmp_path / "mine.parquet", ["fr"])["fr"].table.num_rows == 1
    with pytest.raises(DataError, match="1: has no field 'language'"):
        prompts(tmp_path / "mine.parquet", ["fr", "en"])


def test_a_column_that_looks_like_the_language_is_noted(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"text": "a", "lang": "fr"}])
    assert prompts(path, ["en"])["en"].notes == [
        f"{path}: has no column 'language', so all rows count as en (rename 'lang'?)"
    ]


def test_every_kind_of_rows_has_its_tags_read(tmp_path: Path) -> None:
    row = {"text": "a", "language": "pt-BR", "label": 1, "prompt": "p", "chosen": "c", "rejected": "r"}
    file: dict[str, Any] = {"source": "file", "path": str(as_parquet(tmp_path / "mine.parquet", [row]))}
    tables = [
        read_texts(TextsConfig(**file), ["pt"], "stop")["pt"],
        read_labelled(ValidityConfig(**file), ["pt"], "stop")["pt"],
        read_pairs(PairsConfig(**file, language="pt-PT"), "stop"),
        read_corpus(CorpusConfig(**file, language="PT"), "stop"),
    ]
    for read in tables:
        assert read.table.num_rows == 1
        assert read.notes == [f"{file['path']}: language tags read: 'pt-BR' (1) as pt"]
    for config in (PairsConfig(**file), CorpusConfig(**file)):
        with pytest.raises(DataError, match=r"in language en \(its rows are in 'pt-BR': 1\)"):
            _ = read_pairs(config, "stop") if isinstance(config, PairsConfig) else read_corpus(config, "stop")
    with pytest.raises(DataError, match=r"has no labelled text in fr \(its rows are in 'pt-BR': 1\)"):
        read_labelled(ValidityConfig(**file), ["fr"], "stop")
