"""What is seen of the data before a run starts, and the key of what was read."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from detox_ray.config import CorpusConfig, DataConfig, PairsConfig, PromptsConfig, TextsConfig
from detox_ray.data import check, source_key
from detox_ray.storage.tables import TEXTS


def test_all_sources_are_checked_at_once(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    data = DataConfig(
        prompts=PromptsConfig(source="rtp-lx", path=str(tmp_path / "absent")),
        pairs=PairsConfig(source="file", path=str(write_lines("pairs.jsonl", [{"prompt": "a", "rejected": "b"}]))),
        corpus=CorpusConfig(source="panda", path=str(tmp_path / "nowhere.jsonl")),
        texts=TextsConfig(source="file", path=str(write_lines("texts.jsonl", [{"language": "en", "text": "a"}, b"{"]))),
    )
    problems = check(data, ["en", "hi"])
    assert [(problem.field, Path(problem.value).name, problem.rule) for problem in problems] == [
        ("data.prompts.path", "absent", "must be a folder of RTP_LX_*.json"),
        (
            "data.pairs.path",
            "pairs.jsonl",
            "no row has a 'chosen'; every row needs prompt, chosen, rejected (there are prompt, rejected)",
        ),
        ("data.corpus.path", "nowhere.jsonl", "cannot be read: no such file or folder"),
        ("data.texts.path", "texts.jsonl", "holds no usable texts in language hi (its rows are in 'en': 1)"),
        (
            "data.texts.path",
            "texts.jsonl:2",
            "is not JSON: Expecting property name enclosed in double quotes at column 2",
        ),
    ]


def test_bad_rows_are_no_problem_where_they_are_to_be_skipped(write_lines: Callable[..., Path]) -> None:
    path = str(write_lines("mine.jsonl", [{"text": "a"}, *[b"{"] * 30]))
    stop = check(DataConfig(prompts=PromptsConfig(source="file", path=path)), ["en"])
    assert len(stop) == 21
    assert str(stop[-1]).startswith("data.prompts.path: and so on")
    assert check(DataConfig(prompts=PromptsConfig(source="file", path=path), on_error="skip"), ["en"]) == []


def test_what_is_unusual_is_said(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"text": "a", "language": "EN"}, b"{"])
    data = DataConfig(prompts=PromptsConfig(source="file", path=str(path)), on_error="skip")
    notes: list[str] = []
    assert check(data, ["en"], say=notes.append) == []
    assert notes[0] == f"{path}: language tags read: 'EN' (1) as en"
    assert notes[1].startswith(f"data.prompts.path: bad rows left out: 1; the first: {path}:2: is not JSON")


def test_the_built_in_world_needs_no_check() -> None:
    toy = DataConfig(
        prompts=PromptsConfig(source="toy17"),
        pairs=PairsConfig(source="toy17"),
        corpus=CorpusConfig(source="toy17"),
        texts=TextsConfig(source="toy17"),
    )
    assert check(toy, ["en"]) == []


def rows(*texts: str) -> pa.Table:
    return pa.Table.from_pylist(
        [{"text_id": str(i), "text": t, "source": "s"} for i, t in enumerate(texts)], TEXTS.columns
    )


def test_source_key_follows_content_and_not_its_layout() -> None:
    table = rows("a", "b", "c")
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert source_key(chunked) == source_key(table)
    assert source_key(pa.concat_tables([rows("x"), table]).slice(1)) == source_key(table)
    others = [rows("a", "b"), rows("a", "c", "b"), rows("a", "b", "C"), rows("ab", "", "c")]
    assert len({source_key(other) for other in [table, *others]}) == 5
