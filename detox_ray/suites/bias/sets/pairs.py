"""A user's own pairs: a CSV file of sentences that differ in a stereotyped group."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from detox_ray.config.languages import read_tag, unknown_rule
from detox_ray.data import DataError, Flaw
from detox_ray.storage.metric_spec import ALL
from detox_ray.suites.bias.bias_set import BiasItems, BiasSet
from detox_ray.suites.bias.files import csv_records
from detox_ray.suites.bias.sentences import pair, unusable

COLUMNS = ("more", "less", "language", "type")


class Pairs(BiasSet):
    """A CSV file with the columns more (the sentence that stereotypes more), less, language and type.

    With a column ``id``, rows with the same id in several languages count as translations of each other and are
    resampled together. The column ``cluster`` groups pairs that belong together, such as those of one template.
    """

    source: Literal["pairs"]
    encoding: str = "utf-8"

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        rows: dict[str, list[dict[str, Any]]] = {}
        flaws: list[Flaw] = []
        left_out: Counter[str] = Counter()
        for row, record in enumerate(csv_records(self.folder, COLUMNS, self.encoding)):
            fields = record.fields
            language = read_tag(fields["language"] or "")
            if language is None:
                flaws.append(Flaw(record.where, unknown_rule(fields["language"] or "")))
            elif fields["type"] == ALL:
                flaws.append(Flaw(record.where, f"the type {ALL!r} is reserved for all types together: rename it"))
            elif reason := unusable(fields["more"], fields["less"]):
                left_out[reason] += 1
            elif language in languages:
                item_id = fields.get("id") or f"{language}-{row:05d}"
                part = fields["type"] or "none"
                item = pair(item_id, fields["more"], fields["less"], part, cluster=fields.get("cluster"))
                rows.setdefault(language, []).append(item)
        if flaws:
            raise DataError(flaws)
        counted = ", ".join(f"{count} {reason}" for reason, count in sorted(left_out.items()))
        return BiasItems(rows, [f"{self.place}: pairs left out: {counted}"] if counted else [])


VARIANT = Pairs
