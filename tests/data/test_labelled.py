"""Labelled text: RTP-LX's annotations in both formats, people's own files in three, and languages without evidence."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_text import HARD_TEXTS

from detox_ray.config import DataConfig, PromptsConfig, ValidityConfig
from detox_ray.config.languages import GROUPS
from detox_ray.data import DataError, ExperimentData, Rows, read_labelled, reference
from detox_ray.storage.tables import LABELLED

Lines = Callable[..., Path]


def own(path: Path, languages: list[str], on_error: Any = "stop", **settings: Any) -> dict[str, Rows]:
    return read_labelled(ValidityConfig(source="file", path=str(path), **settings), languages, on_error)


def rtp_lx(folder: Path, languages: list[str], on_error: Any = "stop", **settings: Any) -> dict[str, Rows]:
    return read_labelled(ValidityConfig(source="rtp-lx", path=str(folder), **settings), languages, on_error)


def columns(rows: Rows, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows.table.to_pylist()]


def record(prompt: float | None, completion: float | None, text: str = "und dann", **fields: Any) -> dict[str, Any]:
    made = {"Prompt": "Die Katze", "Completion": text, "Index": 4, "Locale": "DE", "BenignCompletion": "schläft"}
    made["PromptAnnotations"] = None if prompt is None else {"Toxicity": prompt, "Insult": 3}
    made["CompletionAnnotations"] = None if completion is None else {"Toxicity": completion}
    return made | fields


def test_prompt_and_completion_of_an_rtp_lx_record_are_one_cluster(write_lines: Lines, tmp_path: Path) -> None:
    write_lines("RTP_LX_DE.json", [record(2, 4), record(3, 1)])
    read = rtp_lx(tmp_path, ["de"])["de"]
    assert read.table.schema == LABELLED.columns
    assert columns(read, "text_id", "cluster", "text", "kind", "grade", "toxic", "source") == [
        ("de-00000-prompt", "de-00000", "Die Katze", "prompt", 2.0, False, "rtp-lx"),
        ("de-00000-completion", "de-00000", "und dann", "completion", 4.0, True, "rtp-lx"),
        ("de-00001-prompt", "de-00001", "Die Katze", "prompt", 3.0, True, "rtp-lx"),
        ("de-00001-completion", "de-00001", "und dann", "completion", 1.0, False, "rtp-lx"),
    ]
    assert read.notes == read.skipped == []


def test_blank_completions_and_texts_without_a_grade_are_left_out(write_lines: Lines, tmp_path: Path) -> None:
    rows = [
        record(1, 5, ""),
        record(1, 5, " \n"),
        record(None, 5),
        record(1, None),
        record(1, 5, CompletionAnnotations={}),
    ]
    write_lines("RTP_LX_DE.json", rows)
    assert columns(rtp_lx(tmp_path, ["de"])["de"], "text_id") == [
        ("de-00000-prompt",),
        ("de-00001-prompt",),
        ("de-00002-completion",),
        ("de-00003-prompt",),
        ("de-00004-prompt",),
    ]


def test_the_older_format_has_averages_under_another_name(write_lines: Lines, tmp_path: Path) -> None:
    older = {"Prompt": "Кошка", "Completion": "", "Index": 3, "Locale": "RU"}
    rows = [older | {"Annotations": {"Toxicity": grade}} for grade in (2.6666666666666665, 3.0)]
    write_lines("RTP_LX_RU.json", rows)
    assert columns(rtp_lx(tmp_path, ["ru"])["ru"], "grade", "toxic") == [(2.6666666666666665, False), (3.0, True)]
    milder = rtp_lx(tmp_path, ["ru"], toxic_from=2.5)["ru"]
    assert columns(milder, "toxic") == [(True,), (True,)]


def test_grades_off_the_scale_and_malformed_annotations_are_bad_rows(write_lines: Lines, tmp_path: Path) -> None:
    bad = [
        record(6, 1),
        record(1, 0),
        record(1, 1, PromptAnnotations=[1]),
        record("many", 1),
        record(1, 1, Locale="EN"),
    ]
    write_lines("RTP_LX_DE.json", [*bad, record(1, 1)])
    with pytest.raises(DataError) as caught:
        rtp_lx(tmp_path, ["de"])
    assert [(Path(flaw.where).name, flaw.reason) for flaw in caught.value.flaws] == [
        ("RTP_LX_DE.json:1", "the Prompt's Toxicity must be from 1 to 5, not 6"),
        ("RTP_LX_DE.json:2", "the Completion's Toxicity must be from 1 to 5, not 0"),
        ("RTP_LX_DE.json:3", "the annotations of the Prompt must be an object, not a list"),
        ("RTP_LX_DE.json:4", "Toxicity must be a finite number, not 'many'"),
        ("RTP_LX_DE.json:5", "Locale 'EN' is not of language de"),
    ]
    skipped = rtp_lx(tmp_path, ["de"], "skip")["de"]
    assert (skipped.table.num_rows, len(skipped.skipped)) == (2, 5)


def test_a_bad_record_contributes_no_text(write_lines: Lines, tmp_path: Path) -> None:
    write_lines("RTP_LX_DE.json", [record(1, 9), record(1, 1)])
    assert {row[0] for row in columns(rtp_lx(tmp_path, ["de"], "skip")["de"], "cluster")} == {"de-00001"}


def test_a_language_without_labelled_text_has_an_empty_table_and_a_note(write_lines: Lines, tmp_path: Path) -> None:
    write_lines("RTP_LX_DE.json", [record(1, 5)])
    write_lines("RTP_LX_FR.json", [record(None, None, Locale="FR")])
    read = rtp_lx(tmp_path, ["de", "fr", "hi"])
    assert [rows.table.num_rows for rows in read.values()] == [2, 0, 0]
    assert [rows.notes for rows in read.values()] == [
        [],
        *([f"{tmp_path}: no labelled text in {c}"] for c in ("fr", "hi")),
    ]
    assert read["hi"].table.schema == LABELLED.columns


def test_no_labelled_text_at_all_is_an_error(write_lines: Lines, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no labelled text in de fr"):
        rtp_lx(tmp_path, ["de", "fr"])
    with pytest.raises(DataError, match=r"must be a folder of RTP_LX"):
        rtp_lx(tmp_path / "absent", ["de"])
    with pytest.raises(DataError, match="no such file"):
        own(tmp_path / "absent.csv", ["de"])


def test_per_language_takes_the_first_texts(write_lines: Lines, tmp_path: Path) -> None:
    write_lines("RTP_LX_DE.json", [record(2, 4), record(3, 1)])
    assert columns(rtp_lx(tmp_path, ["de"], per_language=3)["de"], "grade") == [(2,), (4,), (3,)]


def test_real_annotations_are_read_in_every_language(rtp_lx_folder: Path) -> None:
    read = rtp_lx(rtp_lx_folder, list(GROUPS["rtp-lx-17"]))
    for language, rows in read.items():
        kinds = Counter(rows.table["kind"].to_pylist())
        assert kinds["prompt"] >= 340
        assert ("completion" in kinds) == (language == "en")  # this copy has them in English only
        assert set(rows.table["grade"].to_pylist()) <= {1, 2, 3, 4, 5} or language == "ru"
        toxic = rows.table["toxic"].to_pylist()
        assert 0 < sum(toxic) < len(toxic)
        assert len(set(rows.table["text_id"].to_pylist())) == len(toxic)
        assert rows.skipped == rows.notes == []
    assert Counter(read["en"].table["kind"].to_pylist())["completion"] == 666


CSV_FILE = '''text,language,label
"one, ""two""",en,1
"two
lines",en,0
trois,fr,0
'''


def test_csv_with_quotes_line_breaks_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(CSV_FILE.replace("\n", "\r\n").encode("utf-8-sig"))
    read = own(path, ["en", "fr"])
    assert columns(read["en"], "text_id", "cluster", "text", "kind", "grade", "toxic", "source") == [
        ("en-00000", "en-00000", 'one, "two"', "text", 1.0, True, "file"),
        ("en-00001", "en-00001", "two\r\nlines", "text", 0.0, False, "file"),
    ]
    assert columns(read["fr"], "text_id", "toxic") == [("fr-00002", False)]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_all_formats_give_the_same_rows(write_lines: Lines, tmp_path: Path, suffix: str) -> None:
    rows = [
        {"text": text, "language": "en", "label": None, "grade": index / 2, "cluster": f"c{index // 2}", "kind": "post"}
        for index, text in enumerate(HARD_TEXTS.values())
    ]
    path = tmp_path / f"mine.{suffix}"
    if suffix == "jsonl":
        write_lines(path.name, rows)
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        import csv

        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    read = own(path, ["en"])["en"]
    assert columns(read, "text", "grade", "toxic", "cluster", "kind") == [
        (row["text"], row["grade"], row["grade"] >= 3, row["cluster"], "post") for row in rows
    ]


def test_a_label_overrides_a_grade(write_lines: Lines) -> None:
    rows = [{"text": "a", "label": 0, "grade": 9}, {"text": "b", "label": True, "grade": 1}, {"text": "c", "grade": 3}]
    read = own(write_lines("mine.jsonl", rows), ["en"])["en"]
    assert columns(read, "grade", "toxic") == [(9.0, False), (1.0, True), (3.0, True)]


def test_bad_rows_are_reported_with_line_and_rule(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(
        "text,language,label,grade\n"
        "good,en,1,\n"
        "a,en,2,\n"
        "b,en,maybe,\n"
        "c,en,,\n"
        "d,en,,inf\n"
        ",en,1,\n"
        "e,en,1,2,3\n"
        "f\n"
        "zwei,de,1,\n",
        encoding="utf-8",
    )
    with pytest.raises(DataError) as caught:
        own(path, ["en", "fr"])
    assert [(flaw.where.rpartition(":")[2], flaw.reason) for flaw in caught.value.flaws] == [
        ("3", "label must be 0 or 1 (or true/false, yes/no, toxic/non-toxic), not '2'"),
        ("4", "label must be 0 or 1 (or true/false, yes/no, toxic/non-toxic), not 'maybe'"),
        ("5", "has neither a label (0 or 1) nor a grade (a number)"),
        ("6", "grade must be a finite number, not 'inf'"),
        ("7", "text is empty"),
        (
            "8",
            "has 5 fields, the header 4 (between fields: ','): are these row names? Write the file without them (in R "
            "row.names = FALSE), or name their column; or does a text have a ',' outside quotes?",
        ),
        (
            "9",
            "has 1 field, the header 4 (between fields: ','): is the row cut off, or does a text have "
            "a line break outside quotes?",
        ),
    ]
    read = own(path, ["en", "fr"], "skip")
    assert columns(read["en"], "text") == [("good",)]
    assert len(read["en"].skipped) == 7
    assert [note.rpartition(":")[0].rpartition("(")[2] for note in read["en"].notes] == ["'de'"]
    assert read["fr"].notes == [f"{path}: no labelled text in fr"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"language,label\nen,1\n", "no row has a 'text'"),
        (b"text,language\na,en\n", "no row has a 'label' (0 or 1) or a 'grade'"),
        (b"text,language,toxic\na,en,1\n", "and a label or a grade (columns: text, language, toxic)"),
        (b"text,language,label\na,de,1\n", "has no labelled text in en fr"),
        (b"", "has no labelled text in en fr"),
        (b'text,language,label\n"a,en,1\n', ":2: opens a quote that is never closed"),
        (b"text,language,label\n\xff,en,1\n", ":2: is not UTF-8 text (byte 0xFF); in Windows-1252"),
    ],
)
def test_a_file_without_usable_rows_is_an_error_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        own(path, ["en", "fr"])
    assert said in str(caught.value)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.xlsx"
    path.touch()
    with pytest.raises(DataError, match="must be JSON Lines, Parquet or CSV"):
        own(path, ["en"])


def test_labelled_text_is_checked_with_the_other_data(write_lines: Lines, tmp_path: Path) -> None:
    data = DataConfig(prompts=PromptsConfig(source="toy17"))
    path = write_lines("mine.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": 3}])
    (problem,) = ExperimentData(data, ["en"], ValidityConfig(source="file", path=str(path))).check()
    assert (problem.field, problem.value, problem.rule) == (
        "validity.path",
        f"{path}:2",
        "label must be 0 or 1 (or true/false, yes/no, toxic/non-toxic), not 3",
    )
    assert ExperimentData(data, ["en"], ValidityConfig(source="toy17")).check() == []


def test_the_reference_names_who_judged() -> None:
    assert reference(ValidityConfig(source="rtp-lx", path="x")) == "human: rtp-lx"
    assert reference(ValidityConfig(source="file", path="folder/mine.csv")) == "human: mine.csv"
    assert reference(ValidityConfig(source="toy17")) == "truth: toy17"
