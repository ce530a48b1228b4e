"""An experiment's data: the check before a run, reading once, and the key of a table."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from detox_ray.config import CorpusConfig, DataConfig, PairsConfig, PromptsConfig, TextsConfig, ValidityConfig
from detox_ray.data import ExperimentData, readers, source_key
from detox_ray.storage import key_of
from detox_ray.storage.tables import TEXTS


def test_all_sources_are_checked_at_once(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    data = DataConfig(
        prompts=PromptsConfig(source="rtp-lx", path=str(tmp_path / "absent")),
        pairs=PairsConfig(source="file", path=str(write_lines("pairs.jsonl", [{"prompt": "a", "rejected": "b"}]))),
        corpus=CorpusConfig(source="panda", path=str(tmp_path / "nowhere.jsonl")),
        texts=TextsConfig(source="file", path=str(write_lines("texts.jsonl", [{"language": "en", "text": "a"}, b"{"]))),
    )
    problems = ExperimentData(data, ["en", "hi"]).check()
    assert [(problem.field, Path(problem.value).name, problem.rule) for problem in problems] == [
        ("data.prompts.path", "absent", "must be a folder of RTP_LX_*.json"),
        (
            "data.pairs.path",
            "pairs.jsonl",
            "no row has a 'chosen'; every row needs prompt, chosen, rejected (columns: prompt, rejected)",
        ),
        ("data.corpus.path", "nowhere.jsonl", "cannot be read: no such file or folder"),
        (
            "data.texts.path",
            "texts.jsonl",
            "holds no usable texts in language hi (its rows are in 'en': 1): add some, or ask for other `languages`",
        ),
        (
            "data.texts.path",
            "texts.jsonl:2",
            "is not JSON: Expecting property name enclosed in double quotes at column 2",
        ),
    ]


def test_bad_rows_are_no_problem_if_they_are_skipped(write_lines: Callable[..., Path]) -> None:
    path = str(write_lines("mine.jsonl", [{"text": "a"}, *[b"{"] * 30]))
    stop = ExperimentData(DataConfig(prompts=PromptsConfig(source="file", path=path)), ["en"]).check()
    assert len(stop) == 21
    assert str(stop[-1]).startswith("data.prompts.path: has more bad rows")
    skip = DataConfig(prompts=PromptsConfig(source="file", path=path), on_error="skip")
    assert ExperimentData(skip, ["en"]).check() == []


def test_the_check_passes_on_notes_and_counts_skipped_rows(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"text": "a", "language": "EN"}, b"{"])
    data = DataConfig(prompts=PromptsConfig(source="file", path=str(path)), on_error="skip")
    notes: list[str] = []
    assert ExperimentData(data, ["en"]).check(notes.append) == []
    assert notes[0] == f"{path}: language tags read: 'EN' (1) as en"
    assert notes[1].startswith(f"data.prompts.path: 1 bad rows left out; the first: {path}:2: is not JSON")


def test_the_built_in_world_needs_no_check() -> None:
    toy = DataConfig(
        prompts=PromptsConfig(source="toy17"),
        pairs=PairsConfig(source="toy17"),
        corpus=CorpusConfig(source="toy17"),
        texts=TextsConfig(source="toy17"),
    )
    assert ExperimentData(toy, ["en"]).check() == []


def test_what_was_checked_is_what_is_used(write_lines: Callable[..., Path]) -> None:
    """Each file is read once, so that a change after the check has no effect."""
    paths = {
        "prompts": write_lines("prompts.jsonl", [{"text": "a prompt"}]),
        "pairs": write_lines("pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}]),
        "corpus": write_lines("corpus.jsonl", [{"text": "learned"}]),
        "texts": write_lines("texts.jsonl", [{"text": "held out"}]),
        "labelled": write_lines("labelled.jsonl", [{"text": "judged", "label": 1}]),
    }
    data = DataConfig(
        prompts=PromptsConfig(source="file", path=str(paths["prompts"])),
        pairs=PairsConfig(source="file", path=str(paths["pairs"])),
        corpus=CorpusConfig(source="file", path=str(paths["corpus"])),
        texts=TextsConfig(source="file", path=str(paths["texts"])),
    )
    inputs = ExperimentData(data, ["en"], ValidityConfig(source="file", path=str(paths["labelled"])))
    assert inputs.check() == []
    for path in paths.values():
        path.unlink()
    pairs, corpus = inputs.pairs(), inputs.corpus()
    assert pairs is not None and pairs.table["chosen"].to_pylist() == ["b"]
    assert corpus is not None and corpus.table["text"].to_pylist() == ["learned"]
    by_language = (inputs.prompts(), inputs.texts(), inputs.labelled())
    assert [found["en"].table["text"].to_pylist() for found in by_language] == [["a prompt"], ["held out"], ["judged"]]


def test_data_that_the_experiment_lacks_is_empty(write_lines: Callable[..., Path]) -> None:
    prompts = PromptsConfig(source="file", path=str(write_lines("prompts.jsonl", [{"text": "a"}])))
    inputs = ExperimentData(DataConfig(prompts=prompts), ["en"])
    assert (inputs.pairs(), inputs.corpus(), inputs.texts(), inputs.labelled()) == (None, None, {}, {})


def rows(*texts: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"text_id": str(i), "text": t, "source": "s"} for i, t in enumerate(texts)], TEXTS.columns
    )


def test_source_key_depends_on_content_and_not_on_layout() -> None:
    table = rows("a", "b", "c")
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert source_key(chunked) == source_key(table)
    assert source_key(pa.concat_tables([rows("x"), table]).slice(1)) == source_key(table)
    others = [rows("a", "b"), rows("a", "c", "b"), rows("a", "b", "C"), rows("ab", "", "c")]
    assert len({source_key(other) for other in [table, *others]}) == 5


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_source_key_in_pieces_is_that_of_all_rows(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key decides which units are made again, so it must not change with how it is computed."""
    monkeypatch.setattr(readers, "KEY_ROWS", 2)
    schema = pa.schema([("text", pa.string()), ("label", pa.float64()), ("options", pa.list_(pa.string()))])
    contents = [['é\n"', None, ["a", "b"]], ["", 0.1, []], ["x", 1.0, None], ["y", 1e-9, ["c"]], ["z", 3.0, ["d"]]]
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in contents[:count]], schema)
    assert source_key(table) == key_of(columns=["text", "label", "options"], rows=contents[:count])
