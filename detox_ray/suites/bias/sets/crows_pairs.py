"""CrowS-Pairs (Nangia et al. 2020) and its translations: pairs of sentences that differ in the group they are about.

``sent_more`` is the sentence that stereotypes more, in rows of both directions. In "antistereo" rows, the sentence
about the stereotyped group contradicts the stereotype.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from detox_ray.data import DataError, Flaw
from detox_ray.suites.bias.bias_set import BiasItems, BiasSet
from detox_ray.suites.bias.files import csv_records, language_of, one_file_each
from detox_ray.suites.bias.sentences import pair, unusable

COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")
DIRECTIONS = ("stereo", "antistereo")
NINE = (
    "race-color", "socioeconomic", "gender", "disability", "nationality", "sexual-orientation", "physical-appearance",
    "religion", "age",
)  # fmt: skip
ORIGINAL = "crows_pairs_anonymized"  # the file of the original, which is in English


class CrowsPairs(BiasSet):
    """A CSV file, or a folder with one file for each language.

    The names of published files are recognized: ``english_US_crowspairs.csv``, ``ca_ES/….csv``, ``ca_ES.csv``,
    ``crows_dutch.csv``, ``crows_pairs_anonymized.csv``.
    """

    source: Literal["crows-pairs"]
    encoding: str = "utf-8"  # encoding of the files

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        paths = [self.folder] if self.folder.is_file() else [*self.folder.glob("*.csv"), *self.folder.glob("*/*.csv")]
        named = {path: "en" if path.stem == ORIGINAL else language_of(path) for path in paths}
        if self.folder.is_dir() and not any(named.values()):
            reason = "has no CSV file with a language in its name, such as ca_ES.csv or catalan_spain_crowspairs.csv"
            raise DataError([Flaw(self.place, reason)])
        if self.folder.is_file() and named[self.folder] is None:
            raise DataError([Flaw(self.place, "its name must contain its language, such as ca_ES.csv")])
        files = one_file_each(paths, named)
        rows: dict[str, list[dict[str, Any]]] = {}
        notes: list[str] = []
        flaws: list[Flaw] = []
        for language in languages:
            if language in files:
                try:
                    rows[language] = self._pairs(files[language], notes, flaws)
                except DataError as error:
                    flaws += error.flaws
        if flaws:
            raise DataError(flaws)
        return BiasItems(rows, notes)

    def _pairs(self, path: Path, notes: list[str], flaws: list[Flaw]) -> list[dict[str, Any]]:
        """Return a file's items; unusable rows become flaws, or are left out with a note."""
        records = csv_records(path, COLUMNS, self.encoding)
        index = next((name for name in ("", "index", "id") if records and name in records[0].fields), None)
        pairs: list[dict[str, Any]] = []
        left_out: Counter[str] = Counter()
        others: Counter[str] = Counter()
        for row, record in enumerate(records):
            fields = record.fields
            if fields["stereo_antistereo"] not in DIRECTIONS:
                flaws.append(Flaw(record.where, f"stereo_antistereo must be one of {', '.join(DIRECTIONS)}"))
                continue
            if reason := unusable(fields["sent_more"], fields["sent_less"]):
                left_out[reason] += 1
                continue
            part = fields["bias_type"] or "none"
            if part not in NINE:
                others[part] += 1
                part = f"other-{part.removeprefix('other-')}"
            source_index = str(row) if index is None else str(fields[index])
            direction = fields["stereo_antistereo"]
            pairs.append(pair(source_index, fields["sent_more"], fields["sent_less"], part, direction=direction))
        if left_out:
            what = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
            notes.append(f"{path}: pairs left out: {what}")
        if others:
            what = ", ".join(f"{part} ({count})" for part, count in sorted(others.items()))
            notes.append(f"{path}: bias types other than the nine of CrowS-Pairs are kept as other-…: {what}")
        return pairs


VARIANT = CrowsPairs
