"""People's own JSON Lines and Parquet files, toy17's included: what is kept, what is bad, and the messages."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_text import HARD_TEXTS, SENTENCES

from detox_ray.config import PairsConfig, PromptsConfig, TextsConfig
from detox_ray.data import DataError, Rows, read_pairs, read_prompts, read_texts
from detox_ray.storage.tables import PAIRS, PROMPTS, TEXTS

GOOD = [{"language": "en", "text": "one"}, {"language": "fr", "text": "deux"}]


def prompts(path: Path, languages: list[str], on_error: Any = "stop", limit: int | None = None) -> dict[str, Rows]:
    return read_prompts(PromptsConfig(source="file", path=str(path), per_language=limit), languages, on_error)


def pairs(path: Path, language: str = "en", on_error: Any = "stop", limit: int | None = None) -> Rows:
    return read_pairs(PairsConfig(source="file", path=str(path), language=language, limit=limit), on_error)


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_text_in_every_script_is_unchanged(write_lines: Callable[..., Path], tmp_path: Path, format_: str) -> None:
    rows = [{"language": code, "text": text} for code, text in SENTENCES.items()]
    rows += [{"language": "en", "text": text} for text in HARD_TEXTS.values()]
    path = write_lines("mine.jsonl", rows) if format_ == "jsonl" else as_parquet(tmp_path / "mine.parquet", rows)
    read = prompts(path, list(SENTENCES))
    assert {code: rows.table["text"][0].as_py() for code, rows in read.items()} == SENTENCES
    assert read["en"].table["text"].to_pylist()[1:] == list(HARD_TEXTS.values())
    assert all(rows.table.schema == PROMPTS.columns for rows in read.values())


def test_ids_come_from_the_row_number_in_the_file(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [GOOD[0], GOOD[1], b"", b"{", GOOD[0]])
    read = prompts(path, ["en", "fr"], "skip")
    assert read["en"].table["prompt_id"].to_pylist() == ["en-00000", "en-00003"]  # the blank line is no record
    assert read["fr"].table["prompt_id"].to_pylist() == ["fr-00001"]


def test_index_and_annotations_are_kept(write_lines: Callable[..., Path]) -> None:
    rows = [
        {"text": "a", "index": 7, "annotations": {"toxicity": 0.5, "é": None}},
        {"text": "b", "index": "x-1", "annotations": '{"given": "as JSON"}'},
        {"text": "c", "annotations": "only words"},
        {"text": "d", "annotations": None},
    ]
    table = prompts(write_lines("mine.jsonl", rows), ["fr"])["fr"].table
    assert table["source_index"].to_pylist() == ["7", "x-1", "2", "3"]
    labels = [None if label is None else json.loads(label) for label in table["annotations"].to_pylist()]
    assert labels == [{"toxicity": 0.5, "é": None}, {"given": "as JSON"}, "only words", None]


def test_language_may_be_left_out_if_the_experiment_has_one_language(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"text": "a"}, {"text": "b", "language": "sv"}, {"text": "c", "language": "fr"}])
    read = prompts(path, ["sv"])["sv"]
    assert read.table["text"].to_pylist() == ["a", "b"]
    assert "'fr': 1" in read.notes[0]
    with pytest.raises(DataError, match="1: has no field 'language'"):
        prompts(path, ["sv", "fr"])


def test_json_lines_in_utf_16_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [json.dumps({"text": "é\u2028中"}, ensure_ascii=False), "", "{", json.dumps({"text": "b"})]
    path.write_bytes("\r\n".join(lines).encode("utf-16"))
    read = prompts(path, ["en"], "skip")["en"]
    assert read.table["text"].to_pylist() == ["é\u2028中", "b"]
    assert read.skipped[0].startswith(f"{path}:3: is not JSON")
    assert read.notes == [f"{path}: read as UTF-16"]
    path.write_bytes("\r\n".join(lines).encode("utf-16-le"))
    with pytest.raises(DataError, match="looks like UTF-16 text without a byte order mark: save it as UTF-8"):
        prompts(path, ["en"])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_mark_and_windows_line_ends_are_tolerated(write_lines: Callable[..., Path], end: bytes) -> None:
    path = write_lines("mine.jsonl", GOOD, start=b"\xef\xbb\xbf", end=end)
    assert prompts(path, ["en", "fr"])["en"].table["text"].to_pylist() == ["one"]


def test_last_line_needs_no_line_feed(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\n".join(json.dumps(row).encode() for row in GOOD))
    assert prompts(path, ["en", "fr"])["fr"].table.num_rows == 1


BAD_LINES = {
    b'{"language": "en", "text": "cut off': "is not JSON: Unterminated string starting at column 28",
    b"\xff\xfe{}": "is not UTF-8 text (byte 1 of the line)",
    b'{"language": "en", "text": "caf\xe9"}': "is not UTF-8 text (byte 32 of the line)",
    b'["en", "text"]': "must be a JSON object, not a list",
    b"12": "must be a JSON object, not a number",
    b"[" * 100_000: "is not usable JSON: maximum recursion depth exceeded",
    b'{"language": "en", "text": 5}': "text must be text, not a number",
    b'{"language": "en", "text": null}': "has no field 'text'",
    b'{"language": "en", "texts": "typo"}': "has no field 'text'",
    b'{"language": "en", "text": " \\u2028\\u200b\\t"}': "text is empty",
    b'{"language": "en", "text": "half \\ud83d"}': "text contains half of a surrogate pair, which is not a character",
    b'{"language": ["en"], "text": "a"}': "language must be a code such as 'en', not a list",
    b'{"text": "no language"}': "has no field 'language'",
    b'{"language": "en", "text": "a", "index": 1.5}': "index must be text or a whole number, not 1.5",
    b'{"language": "en", "text": "a", "index": true}': "index must be text or a whole number, not true/false",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=BAD_LINES.get)
def test_a_bad_line_is_reported_and_spoils_no_other(write_lines: Callable[..., Path], line: bytes) -> None:
    path = write_lines("mine.jsonl", [GOOD[0], line, GOOD[1]])
    read = prompts(path, ["en", "fr"], "skip")
    assert [rows.table.num_rows for rows in read.values()] == [1, 1]
    skipped = read["en"].skipped + read["fr"].skipped
    assert len(skipped) == 1
    assert skipped[0].startswith(f"{path}:2: {BAD_LINES[line]}")
    with pytest.raises(DataError) as caught:
        prompts(path, ["en", "fr"], "stop")
    assert str(caught.value) == skipped[0]


def test_stop_shows_twenty_bad_rows_and_counts_the_rest(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [*GOOD, *[b"{"] * 25])
    with pytest.raises(DataError) as caught:
        prompts(path, ["en", "fr"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 21
    assert lines[0].startswith(f"{path}:3: ")
    assert lines[-1] == "and 5 more"


def test_messages_do_not_repeat_text(write_lines: Callable[..., Path]) -> None:
    secret = "private words"
    rows = [GOOD[0], {"language": "en", "text": [secret]}, f'{{"text": "{secret}" oops'.encode()]
    path = write_lines("mine.jsonl", rows)
    assert secret not in "".join(prompts(path, ["en"], "skip")["en"].skipped)


def test_a_missing_column_is_reported_once(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [{"language": "en", "prompt": "a"}] * 50)
    for on_error in ("stop", "skip"):
        with pytest.raises(DataError) as caught:
            prompts(path, ["en", "fr"], on_error)
        assert (
            str(caught.value)
            == f"{path}: no row has a 'text'; every row needs text, language (columns: language, prompt)"
        )


def test_a_language_without_a_prompt_is_an_error_even_when_skipping(write_lines: Callable[..., Path]) -> None:
    path = write_lines("mine.jsonl", [*GOOD, {"language": "sv", "text": ""}])
    with pytest.raises(DataError) as caught:
        prompts(path, ["en", "sv", "hi"], "skip")
    advice = "add some, or ask for other `languages`"
    assert str(caught.value).splitlines() == [
        f"{path}: holds no usable prompts in language sv: {advice}",
        f"{path}: holds no usable prompts in language hi (its rows are in 'en': 1, 'fr': 1, 'sv': 1): {advice}",
        f"{path}:3: text is empty",
    ]


def test_languages_without_a_row_are_one_problem(write_lines: Callable[..., Path]) -> None:
    with pytest.raises(DataError) as caught:
        prompts(write_lines("mine.jsonl", GOOD), ["en", "sv", "hi"])
    assert str(caught.value).count("holds no usable prompts") == 1
    assert "in languages sv, hi (its rows are in 'en': 1, 'fr': 1)" in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "delimiter"), [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t")], ids=["plain", "Excel", "Unicode"]
)
def test_prompts_and_texts_may_be_csv(tmp_path: Path, encoding: str, delimiter: str) -> None:
    path = tmp_path / "mine.csv"
    lines = [("text", "language", "index"), ("Größe ", "de", "7"), ('"say ""no"", or\r\nyes"', "en", "")]
    path.write_text("\r\n".join(delimiter.join(line) for line in lines) + "\r\n", encoding, newline="")
    read = prompts(path, ["de", "en"])
    assert read["de"].table.select(["text", "source_index"]).to_pylist() == [{"text": "Größe ", "source_index": "7"}]
    assert read["en"].table["text"].to_pylist() == ['say "no", or\r\nyes']
    texts = read_texts(TextsConfig(source="file", path=str(path)), ["de"], "stop")
    assert texts["de"].table["text"].to_pylist() == ["Größe "]


@pytest.mark.parametrize("content", ['[{"text": "a"}]', '[\n  {\n    "text": "a"\n  }\n]\n'])
def test_a_json_array_is_one_problem_that_says_what_to_write(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        prompts(path, ["en"])
    assert str(caught.value) == f"{path}: is one JSON array: write one object per line, as `jq -c '.[]' mine.json` does"


def test_an_empty_file_is_an_error(write_lines: Callable[..., Path]) -> None:
    for content in ([], [b"", b"  "]):
        with pytest.raises(DataError, match="holds no usable prompts in language en"):
            prompts(write_lines("mine.jsonl", content), ["en"])


def test_limit_counts_good_rows_per_language(write_lines: Callable[..., Path]) -> None:
    rows = [{"language": code, "text": f"{code}{i}" if i else ""} for i in range(4) for code in ("en", "fr")]
    read = prompts(write_lines("mine.jsonl", rows), ["en", "fr"], "skip", limit=2)
    assert [rows.table["text"].to_pylist() for rows in read.values()] == [["en1", "en2"], ["fr1", "fr2"]]
    assert [len(rows.skipped) for rows in read.values()] == [1, 1]


def test_bad_parquet_rows_are_reported_by_number(tmp_path: Path) -> None:
    rows = [*GOOD, {"language": "en", "text": None}, {"language": "en", "text": " "}, {"language": "en", "text": "x"}]
    read = prompts(as_parquet(tmp_path / "mine.parquet", rows), ["en", "fr"], "skip")["en"]
    assert read.table["text"].to_pylist() == ["one", "x"]
    assert [line.partition(".parquet:")[2] for line in read.skipped] == ["3: has no field 'text'", "4: text is empty"]


def test_damaged_parquet_is_reported(tmp_path: Path) -> None:
    whole = as_parquet(tmp_path / "whole.parquet", GOOD).read_bytes()
    path = tmp_path / "mine.parquet"
    for content in (b"", b"not parquet", whole[:-20], whole[:30] + b"\0" * 40 + whole[70:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"mine\.parquet: is damaged or not a Parquet file"):
            prompts(path, ["en"])


def test_a_parquet_column_of_another_type_is_a_bad_row(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "mine.parquet", [{"text": 1, "language": "en"}])
    with pytest.raises(DataError, match="1: text must be text, not a number"):
        prompts(path, ["en"])


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    (tmp_path / "prompts.xlsx").write_bytes(b"PK")
    (tmp_path / "folder.jsonl").mkdir()
    for name, reason in (
        ("prompts.xlsx", r"must be JSON Lines, Parquet or CSV, so end in \.jsonl"),
        ("absent.csv", "no such file"),
        ("absent.jsonl", "no such file"),
        ("absent.parquet", "no such file"),
        ("folder.jsonl", "is a folder: give the path of one file in it"),
    ):
        with pytest.raises(DataError, match=f"{name}: .*{reason}"):
            prompts(tmp_path / name, ["en"])


def test_texts_are_read_like_prompts(write_lines: Callable[..., Path]) -> None:
    config = TextsConfig(source="file", path=str(write_lines("mine.jsonl", [*GOOD, *GOOD])), per_language=1)
    read = read_texts(config, ["en", "fr"], "stop")
    assert read["fr"].table.schema == TEXTS.columns
    assert read["fr"].table.to_pylist() == [{"text_id": "fr-00001", "text": "deux", "source": "file"}]


def test_pairs_are_unchanged_and_pairs_of_equal_completions_are_bad(write_lines: Callable[..., Path]) -> None:
    rows = [
        {"prompt": "The cat", "chosen": " sleeps", "rejected": "The cat lies"},
        {"prompt": "The cat", "chosen": " sleeps", "rejected": " sleeps"},
        {"prompt": "The cat", "chosen": "", "rejected": " lies"},
        {"prompt": "Le chat", "chosen": " dort", "rejected": " ment", "language": "fr"},
    ]
    read = pairs(write_lines("mine.jsonl", rows), on_error="skip")
    assert read.table.schema == PAIRS.columns
    assert read.table.to_pylist() == [rows[0] | {"pair_id": "en-00000", "language": "en"}]
    assert [line.partition(".jsonl:")[2] for line in read.skipped] == [
        "2: the chosen and the rejected completion are the same",
        "3: chosen is empty",
    ]
    assert "'fr': 1" in read.notes[0]


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_pairs_without_chosen_are_refused(write_lines: Callable[..., Path], tmp_path: Path, format_: str) -> None:
    rows = [{"prompt": "a", "rejected": "b"}, {"prompt": "c", "rejected": "d"}]
    path = write_lines("p.jsonl", rows) if format_ == "jsonl" else as_parquet(tmp_path / "p.parquet", rows)
    with pytest.raises(DataError, match="no row has a 'chosen'; every row needs prompt, chosen, rejected"):
        pairs(path)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "a"}, "has no field 'chosen'; has no field 'rejected'"),
        ({"prompt": ["a"], "chosen": "b"}, "prompt must be text, not a list; has no field 'rejected'"),
        (
            {"prompt": "a", "chosen": [{"role": "assistant", "content": "b"}], "rejected": "c"},
            "chosen must be text, not a list of chat messages: write their text instead",
        ),
    ],
)
def test_a_pair_in_another_form_is_reported_with_all_that_it_lacks(
    write_lines: Callable[..., Path], row: dict[str, Any], reason: str
) -> None:
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    read = pairs(write_lines("p.jsonl", [good, row]), on_error="skip")
    assert [line.partition(".jsonl:")[2] for line in read.skipped] == [f"2: {reason}"]


def test_the_columns_of_a_file_are_named_but_never_its_text(write_lines: Callable[..., Path]) -> None:
    rows = [{"question": "a", "good": "b", "somebody's private words": "c"}] * 3
    with pytest.raises(DataError) as caught:
        pairs(write_lines("p.jsonl", rows))
    assert len(caught.value.flaws) == 3
    assert all(flaw.reason.endswith("(columns: question, good)") for flaw in caught.value.flaws)


def test_pairs_may_be_csv(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('prompt,chosen,rejected\n"The cat, ""Tom""",sleeps,lies\n', encoding="utf-8")
    assert pairs(path).table.select(["prompt", "chosen"]).to_pylist() == [
        {"prompt": 'The cat, "Tom"', "chosen": "sleeps"}
    ]


def test_no_pairs_in_the_language_is_an_error(write_lines: Callable[..., Path]) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "language": "fr"}
    with pytest.raises(DataError, match="has no pairs in language en"):
        pairs(write_lines("mine.jsonl", [row]), on_error="skip")


def test_toy17_is_read_from_its_world(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("prompts.jsonl", [row | {"index": i, "annotations": None} for i, row in enumerate(GOOD)])
    write_lines("texts.jsonl", GOOD)
    write_lines("pairs.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}])
    read = read_prompts(PromptsConfig(source="toy17"), ["en", "fr"], "stop", tmp_path)
    assert read["fr"].table["source"].to_pylist() == ["toy17"]
    assert read_texts(TextsConfig(source="toy17"), ["fr"], "stop", tmp_path)["fr"].table.num_rows == 1
    assert read_pairs(PairsConfig(source="toy17"), "stop", tmp_path).table["chosen"].to_pylist() == ["b"]
    with pytest.raises(DataError, match=r"data\.pairs\.language: toy17's pairs are in English"):
        read_pairs(PairsConfig(source="toy17", language="fr"), "stop", tmp_path)
