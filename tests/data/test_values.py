"""Labels, grades and indices mean the same in CSV, JSON Lines and Parquet, whatever program wrote the file."""

import csv
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detox_ray.config import PromptsConfig, ValidityConfig
from detox_ray.data import DataError, Rows, read_labelled, read_prompts

KINDS = ["csv", "jsonl", "parquet"]
RULE = "must be 0 or 1 (or true/false, yes/no, toxic/non-toxic)"
NAN = float("nan")


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":  # with NaN, as Python and pandas write it
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as stream:
            table = csv.DictWriter(stream, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    return path


def labelled(path: Path, on_error: Any = "stop") -> Rows:
    return read_labelled(ValidityConfig(source="file", path=str(path)), ["en"], on_error)["en"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("toxic", "harmless"),
    [
        (1, 0), (1.0, 0.0), (True, False), ("1", "0"), (" 1.0", "0.0 "), ("True", "False"), ("TRUE", "FALSE"),
        ("t", "f"), ("yes", "no"), ("Y", "N"), ("toxic", "non-toxic"), ("Toxic", "Non_Toxic"), ("toxic", "not toxic"),
        ("toxic", "nontoxic"), ("toxic", "neutral"),
    ],
)  # fmt: skip
def test_labels_are_read_in_every_spelling(tmp_path: Path, kind: str, toxic: Any, harmless: Any) -> None:
    path = write(tmp_path / f"mine.{kind}", [{"text": "a", "label": toxic}, {"text": "b", "label": harmless}])
    assert labelled(path).table["toxic"].to_pylist() == [True, False]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("label", "shown"),
    [(2, "2"), (0.5, "0.5"), (-1, "-1"), ("maybe", "'maybe'"), ("hate", "'hate'"), ("some words of a text", "text")],
)
def test_a_wrong_label_is_reported_with_the_rule_in_every_format(
    tmp_path: Path, kind: str, label: Any, shown: str
) -> None:
    path = write(tmp_path / f"mine.{kind}", [{"text": "a", "label": label}] * 2)
    with pytest.raises(DataError) as caught:
        labelled(path)
    shown = f"'{label}'" if kind == "csv" and not isinstance(label, str) else shown
    assert [flaw.reason for flaw in caught.value.flaws] == [f"label {RULE}, not {shown}"] * 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [None, NAN, "", "NA", "NaN", "<NA>", "null", "None"])
def test_missing_values_are_no_label_and_no_grade(tmp_path: Path, kind: str, missing: Any) -> None:
    good = "1" if isinstance(missing, str) else 1.0
    rows = [{"text": "NA", "label": good, "grade": missing}, {"text": "b", "label": missing, "grade": missing}]
    read = labelled(write(tmp_path / f"mine.{kind}", rows), "skip")
    assert read.table["text"].to_pylist() == ["NA"], "as a text it is a text"
    assert read.skipped[0].endswith("has neither a label (0 or 1) nor a grade (a number)")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_grade_is_reported(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"mine.{kind}", [{"text": "a", "grade": "2,5"}])
    with pytest.raises(DataError, match=r"grade must be a finite number, not '2,5' \(write a point, not a comma\)"):
        labelled(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("value", "cluster"), [(12.0, "12"), (12, "12"), ("12.0", "12"), ("1.5.0", "1.5.0")])
def test_a_whole_number_stays_whole_after_pandas(tmp_path: Path, kind: str, value: Any, cluster: str) -> None:
    missing = "NA" if isinstance(value, str) else NAN
    rows = [{"text": "a", "label": 1, "cluster": value}, {"text": "b", "label": 0, "cluster": missing}]
    read = labelled(write(tmp_path / f"mine.{kind}", rows))
    assert read.table["cluster"].to_pylist() == [cluster, "en-00001"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_index_is_a_whole_number_or_text(tmp_path: Path, kind: str) -> None:
    path = write(
        tmp_path / f"mine.{kind}", [{"text": t, "index": i} for t, i in zip("abc", (7.0, NAN, 12.5), strict=True)]
    )
    read = read_prompts(PromptsConfig(source="file", path=str(path)), ["en"], "skip")["en"]
    assert read.table["source_index"].to_pylist() == ["7", "1"]
    assert read.skipped == [f"{path}:3: index must be text or a whole number, not 12.5"]


def test_labels_are_read_from_parquet_columns_of_every_type(tmp_path: Path) -> None:
    path = tmp_path / "mine.parquet"
    for labels in (
        pa.array([True, False, None]),
        pa.array([1, 0, None], pa.uint8()),
        pa.array(["toxic", "neutral", None]).dictionary_encode(),
        pa.array(["yes", "no", None], pa.large_string()),
        pa.array([Decimal(1), Decimal(0), None], pa.decimal128(20, 2)),
        pa.array([1.0, 0.0, NAN], pa.float32()),
    ):
        when = pa.array([1_577_836_800_123_456_789] * 3, pa.timestamp("ns"))
        pq.write_table(
            pa.table({"text": pa.array(["a", "b", "c"]).dictionary_encode(), "label": labels, "at": when}), path
        )
        read = labelled(path, "skip")
        assert read.table["toxic"].to_pylist() == [True, False]
        assert read.skipped[0].endswith(":3: has neither a label (0 or 1) nor a grade (a number)")


def test_a_value_that_is_not_text_is_reported_by_its_type(tmp_path: Path) -> None:
    for values, said in (
        (pa.array([NAN]), "has no field 'text'"),
        (pa.array([b"a"]), "text must be text, not bytes"),
        (pa.array([0], pa.timestamp("ns")), "text must be text, not "),
        (pa.array([Decimal(1)]), "text must be text, not a number"),
    ):
        path = tmp_path / "mine.parquet"
        pq.write_table(pa.table({"text": values, "label": [1]}), path)
        with pytest.raises(DataError, match=f"1: {said}"):
            labelled(path)


@pytest.mark.parametrize(
    ("names", "toxic"),
    [(["neutral", "toxic"], [False, True]), (["toxic", "non-toxic"], [True, False]), (["0", "1"], [False, True])],
)
def test_the_classes_of_hugging_face_are_read_by_name(tmp_path: Path, names: list[str], toxic: list[bool]) -> None:
    """The column holds 0 and 1; only the metadata tells which of them is toxic."""
    path = classes(tmp_path / "mine.parquet", names)
    read = labelled(path, "skip")
    assert read.table["toxic"].to_pylist() == toxic
    assert read.skipped == [f"{path}:3: has neither a label (0 or 1) nor a grade (a number)"]


def test_unknown_class_names_are_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"label must be 0 or 1 .*, not 'hate'"):
        labelled(classes(tmp_path / "mine.parquet", ["hate", "offensive", "neither"]))


def classes(path: Path, names: Sequence[str]) -> Path:
    """Write a ClassLabel column as `datasets` does, with -1 for no class."""
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": ["a", "b", "c"], "label": [0, 1, -1]})
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path
