"""RTP-LX: both formats, line splitting, locales, and its completions as pairs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from real_text import HARD_TEXTS, SENTENCES

from detox_ray.config import PairsConfig, PromptsConfig
from detox_ray.config.languages import GROUPS, LANGUAGES
from detox_ray.data import DataError, read_pairs, read_prompts
from detox_ray.data.sources.rtp_lx import continuation, without_prompt
from detox_ray.storage.tables import PAIRS, PROMPTS

LABELS = {"Toxicity": 2, "Insult": 1}


def newer(prompt: Any, index: Any = 0, locale: str = "EN", **fields: Any) -> dict[str, Any]:
    """Return a record in the format of May 2024."""
    record = {"Prompt": prompt, "Completion": "", "Index": index, "Locale": locale, "Dialect": ""}
    return record | {"PromptAnnotations": LABELS, "PromptAnnotationsRaw": {"Toxicity": [1, 2, 2]}} | fields


def prompts(folder: Path, languages: list[str], on_error: Any = "stop", per_language: int | None = None) -> Any:
    config = PromptsConfig(source="rtp-lx", path=str(folder), per_language=per_language)
    return read_prompts(config, languages, on_error)


def pairs(folder: Path, language: str = "en", on_error: Any = "stop", limit: int | None = None) -> Any:
    return read_pairs(PairsConfig(source="rtp-lx", path=str(folder), language=language, limit=limit), on_error)


def test_every_language_is_read_from_the_file_of_its_locale(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    for code in SENTENCES:
        locale = LANGUAGES[code].rtp_lx_locale
        write_lines(f"RTP_LX_{locale}.json", [newer(SENTENCES[code], locale=locale)])
    assert set(SENTENCES) == set(GROUPS["rtp-lx-17"])
    read = prompts(tmp_path, list(SENTENCES))
    assert {code: rows.table["text"].to_pylist() for code, rows in read.items()} == {
        code: [text] for code, text in SENTENCES.items()
    }
    assert all(rows.table.schema == PROMPTS.columns for rows in read.values())


def test_a_language_that_rtp_lx_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tr: RTP-LX does not have this language: remove it from languages"):
        prompts(tmp_path, ["tr"])


def test_text_with_unicode_line_breaks_stays_one_record(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_EN.json", [newer(text, i) for i, text in enumerate(HARD_TEXTS.values())])
    assert prompts(tmp_path, ["en"])["en"].table["text"].to_pylist() == list(HARD_TEXTS.values())


def test_index_is_text_whether_the_file_has_text_or_numbers(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_EN.json", [newer("one", "17"), newer("two", 1004)])
    table = prompts(tmp_path, ["en"])["en"].table
    assert table["source_index"].to_pylist() == ["17", "1004"]
    assert table["prompt_id"].to_pylist() == ["en-00000", "en-00001"]


def test_majority_labels_and_dialect_are_kept_in_both_formats(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    older = {"Prompt": "Кошка", "Index": 3, "Locale": "RU", "Annotations": {"Toxicity": 1.5}, "AnnotationsRaw": {}}
    write_lines("RTP_LX_RU.json", [older])
    write_lines("RTP_LX_AR.json", [newer("قطة", "1", "AR", Dialect="Egyptian")])
    write_lines("RTP_LX_EN.json", [{k: v for k, v in newer("cat").items() if "Annotations" not in k}])
    read = prompts(tmp_path, ["ru", "ar", "en"])
    labels = [read[code].table["annotations"][0].as_py() for code in ("ru", "ar", "en")]
    assert json.loads(labels[0]) == {"Toxicity": 1.5}
    assert json.loads(labels[1]) == LABELS | {"Dialect": "Egyptian"}
    assert labels[2] is None


def test_duplicate_prompts_stay(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_EN.json", [newer("same", 1), newer("same", 2)])
    assert prompts(tmp_path, ["en"])["en"].table["text"].to_pylist() == ["same", "same"]


def test_rows_of_an_unexpected_locale_are_bad(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_PT.json", [newer("um", 0, "Pt-Br"), newer("dois", 1, "PT"), newer("uno", 2, "ES")])
    write_lines("RTP_LX_ZH-Hans.json", [newer("一", 0, "ZH"), newer("二", 1, "ZH-Hans"), newer("三個", 2, "ZH-Hant")])
    read = prompts(tmp_path, ["pt", "zh"], "skip")
    assert [rows.table.num_rows for rows in read.values()] == [2, 2]
    assert ":3: Locale 'ES' is not of language pt" in read["pt"].skipped[0]
    assert "ZH-Hant" in read["zh"].skipped[0]


def test_ids_and_limits_are_stable_under_skipped_rows(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_EN.json", [newer("zero"), b"{broken", newer("  "), newer("three"), newer("four")])
    read = prompts(tmp_path, ["en"], "skip", per_language=2)["en"]
    assert read.table["prompt_id"].to_pylist() == ["en-00000", "en-00003"]  # the limit counts good rows
    assert len(read.skipped) == 2


def test_all_missing_files_are_reported_at_once(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_EN.json", [newer("one")])
    with pytest.raises(DataError) as caught:
        prompts(tmp_path, ["en", "fr", "zh"])
    assert [Path(flaw.where).name for flaw in caught.value.flaws] == ["RTP_LX_FR.json", "RTP_LX_ZH-Hans.json"]


def test_pairs_prefer_the_benign_completion_and_lack_the_prompt(
    write_lines: Callable[..., Path], tmp_path: Path
) -> None:
    record = newer("The cat is", BenignCompletion="very nice.", Completion="The cat is a liar.")
    write_lines("RTP_LX_EN.json", [record])
    table = pairs(tmp_path).table
    assert table.schema == PAIRS.columns
    assert table.to_pylist() == [
        {
            "pair_id": "en-00000",
            "prompt": "The cat is",
            "chosen": " very nice.",
            "rejected": " a liar.",
            "language": "en",
        }
    ]


def test_records_with_one_completion_are_left_out_and_counted(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    good = newer("The cat", BenignCompletion="purrs", Completion="bites")
    write_lines("RTP_LX_EN.json", [newer("a"), good, newer("b", BenignCompletion="kind"), newer("c", Completion="x")])
    read = pairs(tmp_path)
    assert read.table["pair_id"].to_pylist() == ["en-00001"]
    assert read.skipped == []
    assert "3 records without a benign or a toxic completion" in read.notes[0]


def test_a_file_without_benign_completions_is_refused(write_lines: Callable[..., Path], tmp_path: Path) -> None:
    write_lines("RTP_LX_RU.json", [{"Prompt": "Кошка", "Index": 3, "Locale": "RU", "Completion": "спит"}])
    for on_error in ("stop", "skip"):
        with pytest.raises(DataError, match=r"RTP_LX_RU.json: has no pairs.*V0.2"):
            pairs(tmp_path, "ru", on_error)


@pytest.mark.parametrize(
    ("benign", "toxic", "reason"),
    [
        ("purrs", "PURRS ", None),  # not the same
        ("purrs", " purrs", "the chosen and the rejected completion are the same"),  # the same once both begin alike
        ("purrs", "the CAT", "the rejected completion adds nothing to the prompt"),
        ("The cat", "bites", "the chosen completion adds nothing to the prompt"),
        (3, "bites", "BenignCompletion must be text, not a number"),
    ],
)
def test_pairs_that_prefer_nothing_are_bad_rows(
    write_lines: Callable[..., Path], tmp_path: Path, benign: Any, toxic: Any, reason: str | None
) -> None:
    good = newer("The dog", BenignCompletion="barks", Completion="bites")
    write_lines("RTP_LX_EN.json", [good, newer("The cat", BenignCompletion=benign, Completion=toxic)])
    read = pairs(tmp_path, on_error="skip")
    assert read.table.num_rows == (1 if reason else 2)
    assert [line.partition(".json")[2] for line in read.skipped] == ([f":2: {reason}"] if reason else [])


@pytest.mark.parametrize(
    ("prompt", "completion", "rest"),
    [
        ("I am a", "I am a cat", " cat"),
        ("I am a", "I am alone", "lone"),  # exact repetition is a repetition, even inside a word
        ("I am a", "i AM alone", "i AM alone"),  # a loose one must end with a word
        ("Well, the dog", "\n\n“well the dog” barks", "” barks"),
        ("Well, the dog", "Well, the cat", "Well, the cat"),
        ("Straße ist", "STRASSE IST lang", " lang"),
        ("बिल्ली कुर्सी", "«बिल्ली कुर्सी» पर", "» पर"),
        ("बिल्ल", "«बिल्ली", "«बिल्ली"),  # the vowel sign belongs to the word
        ("猫は", "猫は眠る", "眠る"),
        ("...", "... yes", " yes"),
        ("...", "?! yes", "?! yes"),  # no words to compare
        ("The cat", "THE CAT", ""),
        ("The cat", "", ""),
    ],
)
def test_a_repeated_prompt_is_cut(prompt: str, completion: str, rest: str) -> None:
    assert without_prompt(prompt, completion) == rest


def test_both_completions_begin_in_the_same_form() -> None:
    assert continuation("The cat", "sleeps", spaced=True) == " sleeps"
    assert continuation("The cat", "\n\nsleeps\n", spaced=True) == " sleeps\n"
    assert continuation("The cat ", "sleeps", spaced=True) == "sleeps"
    assert continuation("The cat", ", asleep", spaced=True) == ", asleep"
    assert continuation("猫は", "眠る", spaced=False) == "眠る"


@pytest.mark.parametrize("code", GROUPS["rtp-lx-17"])
def test_real_copy_loses_no_record(rtp_lx_folder: Path, code: str) -> None:
    content = (rtp_lx_folder / f"RTP_LX_{LANGUAGES[code].rtp_lx_locale}.json").read_bytes()
    source = [json.loads(line) for line in content.split(b"\n") if line]
    table = prompts(rtp_lx_folder, [code])[code].table
    # Compared by hash, so that a failing assertion shows no text.
    assert hash(tuple(table["text"].to_pylist())) == hash(tuple(record["Prompt"] for record in source))
    assert table["source_index"].to_pylist() == [str(record["Index"]) for record in source]
    assert len(set(table["prompt_id"].to_pylist())) == len(source)
    assert table["annotations"].null_count == 0


def test_real_english_completions_make_666_pairs(rtp_lx_folder: Path) -> None:
    read = pairs(rtp_lx_folder)
    assert read.table.num_rows == 666
    repeated = sum(
        rejected.strip().casefold().startswith(prompt.casefold())
        for prompt, rejected in zip(*(read.table[name].to_pylist() for name in ("prompt", "rejected")), strict=True)
    )
    assert repeated == 0


def test_real_russian_file_holds_no_pairs(rtp_lx_folder: Path) -> None:
    with pytest.raises(DataError, match="has no pairs"):
        pairs(rtp_lx_folder, "ru")
