"""Pass rates of real completions (for-ai/language-confusion) against the script's rules, written out once more."""

import csv
import string
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from detox_ray.measure.consistency import consistency_metrics
from detox_ray.score import identifiers, word_segmentation
from detox_ray.score.english_words import is_english_word
from detox_ray.score.identifiers import Identified
from detox_ray.score.identify import IdentificationWorker, IdentifiedText
from detox_ray.storage import Store
from detox_ray.storage.tables import IDENTIFICATIONS

FILE = Path(__file__).parents[2].parent / "shared/data/bias/language-confusion/command-r-monolingual-40.csv"


class ByLetters:
    """Says of a text which script most letters are of, as that script's language."""

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        return [Identified(_language(text), 0.9) for text in texts]


def _language(text: str) -> str:
    ranges = {"ar": (0x600, 0x6FF), "ru": (0x400, 0x4FF), "hi": (0x900, 0x97F), "ko": (0xAC00, 0xD7A3)}
    ranges |= {"ja": (0x3040, 0x30FF), "zh": (0x4E00, 0x9FFF), "en": (0x41, 0x24F)}
    counts = {code: sum(low <= ord(letter) <= high for letter in text) for code, (low, high) in ranges.items()}
    return max(counts, key=lambda code: counts[code])


def naive_rates(completions: Sequence[str], language: str) -> tuple[float, float | None]:
    """The line pass rate, and the word pass rate by script."""
    skipped = wrong_texts = passed = with_english = 0
    for completion in completions:
        text = completion.split("\nQ:")[0].strip()
        text = "".join(" " if c == "—" else "" if c in string.punctuation or c == "،" else c for c in text)
        lines = [line for line in text.split("\n") if len(word_segmentation.tokens(line, language)) >= 5]
        if not lines:
            skipped += 1
        elif any(_language(line) != language for line in lines):
            wrong_texts += 1
        else:
            passed += 1
            words = [word for line in lines for word in word_segmentation.tokens(line, language)]
            with_english += any(is_english_word(word, None) for word in words)
    return 1 - wrong_texts / (len(completions) - skipped), 1 - with_english / passed if passed else None


@pytest.mark.skipif(not FILE.exists(), reason="no copy of the completions here")
@pytest.mark.parametrize("language", ["ar", "en", "hi", "ja", "ko", "ru", "zh"])
def test_pass_rates_are_the_scripts(language: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with FILE.open(encoding="utf-8", newline="") as stream:
        completions = [row["completion"] for row in csv.DictReader(stream) if row["language"] == language]
    assert len(completions) == 40
    monkeypatch.setattr(identifiers, "load", lambda *_: ByLetters())
    judged = IdentificationWorker("py3langid", None, None, store).judge(completions, language)
    rows = [
        {"prompt_id": str(place), "sample": 0} | dict(zip(IdentifiedText._fields, each, strict=True))
        for place, each in enumerate(judged)
    ]
    table = pa.Table.from_pylist(rows, schema=IDENTIFICATIONS.columns)
    series = consistency_metrics(table, language, "script").series
    lines, words = naive_rates(completions, language)
    assert series["line_pass_rate"].value() == pytest.approx(lines)
    if language != "en":
        assert words is not None and series["word_pass_rate_script"].value() == pytest.approx(words)
