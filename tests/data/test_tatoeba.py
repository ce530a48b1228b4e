"""Tatoeba's sentence pairs: the prompts are those of the procedure that the papers' script follows."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from detox_ray.config import OpeningsConfig
from detox_ray.data import DataError
from detox_ray.data.readers import read_openings
from detox_ray.storage.tables import PROMPTS

GERMAN, SPANISH = "Sentence pairs in German-English - 2024-09-11.tsv", "es.tsv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    german = [(i, f"Satz {i}.", i // 2, f"Sentence {i // 2}.") for i in range(2400)]  # each English one twice
    german[7] = (7, '"Ja', 90001, "A quotation begins.")
    german[20] = (20, 'Nein"', 90002, "A quotation ends.")
    spanish = [(i, f"Frase {i}.", i + 600, f"Sentence {i + 600}.") for i in range(300)]
    for name, rows in ((GERMAN, german), (SPANISH, spanish)):
        (tmp_path / name).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def prompts(folder: Path, languages: list[str], source: str = "tatoeba", **fields: Any) -> dict[str, list[str]]:
    read = read_openings(OpeningsConfig(source=source, path=str(folder), **fields), languages, "stop")
    assert all(rows.table.schema == PROMPTS.columns for rows in read.values())
    return {language: rows.table["text"].to_pylist() for language, rows in read.items()}


def chosen(file: Path, code: str, quoting: int) -> pd.DataFrame:
    names = [f"{code}_id", f"{code}_text", "en_id", "en_text"]
    table = pd.read_csv(file, sep="\t", header=None, names=names, quoting=quoting)  # type: ignore[call-overload]
    return table.drop_duplicates("en_id").sample(frac=1, random_state=42).reset_index(drop=True)[:1000]


@pytest.mark.parametrize(
    ("source", "quoting"), [("tatoeba", csv.QUOTE_NONE), ("tatoeba-neplenbroek2025", csv.QUOTE_MINIMAL)]
)
def test_prompts_are_the_first_thousand_of_the_procedure(folder: Path, source: str, quoting: int) -> None:
    german, spanish = chosen(folder / GERMAN, "de", quoting), chosen(folder / SPANISH, "es", quoting)
    both = german.merge(spanish, how="outer", on=["en_id", "en_text"]).sample(frac=1, random_state=42)
    read = prompts(folder, ["de", "en", "es"], source)
    assert read["de"] == german["de_text"].tolist() and len(read["de"]) == 1000
    assert read["es"] == spanish["es_text"].tolist() and len(read["es"]) == 300  # a short language has what it has
    assert read["en"] == both["en_text"].tolist()[:1000] and len(set(read["en"])) == 1000


def test_only_the_papers_reading_swallows_what_follows_a_quotation_mark(folder: Path) -> None:
    quoted, plain = (
        chosen(folder / GERMAN, "de", quoting)["de_text"].str.contains("\n").sum()
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)
    )
    assert (quoted, plain) == (1, 0)


def test_english_prompts_say_which_languages_they_are_chosen_without(folder: Path) -> None:
    read = read_openings(OpeningsConfig(source="tatoeba", path=str(folder), per_language=5), ["en"], "stop")
    assert read["en"].table.num_rows == 5
    (note,) = read["en"].notes
    assert "without files of tr fr it" in note and " de " not in note


def test_missing_and_broken_files_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match="holds no usable openings in language fr"):
        prompts(folder, ["de", "fr"])
    (folder / "fr.tsv").write_text("1\ta\t2\tb\tc\td\n1\ta\t2\tb\tc\td\te\n")
    with pytest.raises(DataError, match=r"fr\.tsv: is not a TSV of sentence pairs"):
        prompts(folder, ["fr"])
    for other in ("id\ttext\ten_id\ten_text\n1\ta\t2\tb\n", "a\tb\tCC-BY\n", "1\ta\t2\tb\tuser\n"):
        (folder / "fr.tsv").write_text(other)
        with pytest.raises(DataError, match="its columns must be id, sentence, English id and English sentence"):
            prompts(folder, ["fr"])
    (folder / "de.tsv").write_text("1\ta\t2\tb\n")
    with pytest.raises(DataError, match="several files for de"):
        prompts(folder, ["de"])


def test_a_sentence_that_reads_like_a_missing_value_is_a_sentence(folder: Path) -> None:
    rows = [(1, "NA", 1, "None"), (2, "null", 2, "NA")]
    (folder / SPANISH).write_text("".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    assert sorted(prompts(folder, ["es"])["es"]) == ["NA", "null"]
