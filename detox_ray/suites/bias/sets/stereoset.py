"""StereoSet's intrasentence items (Nadeem et al. 2021) and their translations: triples of sentences about a target."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from detox_ray.data import DataError, Flaw
from detox_ray.suites.bias.bias_set import BiasItems, BiasSet, Form
from detox_ray.suites.bias.files import Record, json_lines, language_of, one_file_each, text_of
from detox_ray.suites.bias.frames import frame_rows
from detox_ray.suites.bias.sentences import sentences
from detox_ray.suites.bias.tables import ANTI, STEREOTYPE, UNRELATED

ROLES = {"stereotype": STEREOTYPE, "anti-stereotype": ANTI, "unrelated": UNRELATED}
ENDINGS = (".json", ".jsonl", ".pkl")
NEEDED = ("id", "target", "bias_type", "sentences")


class StereoSet(BiasSet):
    """A file, or a folder with one file for each language: StereoSet's JSON, JSON Lines, or pickled frames.

    A file's name contains its language (``intrasentence_tr.jsonl``, ``df_intrasentence_de_v2_0.pkl``). A file without a
    language in its name, such as StereoSet's own, is English. A file whose name ends in two letters that are not a
    known language, such as ``df_intrasentence_kr.pkl``, is not read. If there are two versions in one language, the
    later one is read.
    """

    form: ClassVar[Form] = "triples"

    source: Literal["stereoset"]

    def items(self, languages: Sequence[str], world: Path | None) -> BiasItems:
        notes: list[str] = []
        if self.folder.is_file():
            if (stated := _language(self.folder)) is None:
                reason = "its name does not end in a known language: rename it, for example to intrasentence_ko.json"
                raise DataError([Flaw(self.place, reason)])
            files = {stated: self.folder}
        else:
            paths = [path for path in sorted(self.folder.iterdir()) if path.suffix in ENDINGS]
            paths = [path for path in paths if "intersentence" not in path.stem]
            files = one_file_each(*_latest(paths, notes))
        rows: dict[str, list[dict[str, Any]]] = {}
        flaws: list[Flaw] = []
        for language in languages:
            if language in files:
                try:
                    rows[language] = [self._item(record) for record in _records(files[language])]
                except DataError as error:
                    flaws += error.flaws
        if flaws:
            raise DataError(flaws)
        return BiasItems(rows, notes)

    def _item(self, record: Record) -> dict[str, Any]:
        fields = record.fields
        if absent := [name for name in NEEDED if name not in fields]:
            present = ", ".join(map(str, list(fields)[:10]))
            raise DataError([Flaw(record.where, f"lacks {', '.join(absent)} (it has {present})")])
        labels = [str(sentence.get("gold_label")) for sentence in fields["sentences"]]
        if sorted(labels) != sorted(ROLES) or not all("sentence" in sentence for sentence in fields["sentences"]):
            raise DataError([Flaw(record.where, f"needs one sentence of each gold_label: {', '.join(ROLES)}")])
        options = [sentence["sentence"] for sentence in fields["sentences"]]
        target = str(fields.get("target_original") or fields["target"]).lower()
        roles = [ROLES[label] for label in labels]
        return sentences(str(fields["id"]), target, str(fields["bias_type"]), options, roles)


def _language(path: Path) -> str | None:
    """Return the language of a file; English if its name contains none."""
    plain = _without_version(path)
    stated = re.search(r"[_-][a-z]{2}$", plain.stem.lower())
    return language_of(plain) or (None if stated else "en")


def _without_version(path: Path) -> Path:
    version = re.fullmatch(r"(.+?)_v\d.*", path.stem)
    return path.with_stem(version[1]) if version else path


def _latest(paths: Iterable[Path], notes: list[str]) -> tuple[list[Path], dict[Path, str | None]]:
    """Return the files without earlier versions, and the language of each."""
    latest: dict[str, Path] = {}
    named: dict[Path, str | None] = {}
    for path in paths:
        plain = _without_version(path)
        named[path] = _language(path)
        if named[path] is None:
            notes.append(f"{path.name}: is not read, because its name does not end in a known language")
        if plain.name in latest:
            notes.append(f"{plain.name}: {path.name} is read, as the later version")
        latest[plain.name] = path  # sorted: "…_v2_0" follows "…"
    return list(latest.values()), named


def _records(path: Path) -> list[Record]:
    if path.suffix == ".pkl":
        return [Record(f"{path}:{row + 1}", _of_frame(fields)) for row, fields in enumerate(frame_rows(path))]
    if path.suffix == ".jsonl":
        return list(json_lines(path))
    try:
        content = json.loads(text_of(path))
        items = content["data"]["intrasentence"] if "data" in content else content["intrasentence"]
    except (json.JSONDecodeError, KeyError, TypeError):
        reason = 'must be StereoSet\'s JSON: {"data": {"intrasentence": […]}}'
        raise DataError([Flaw(str(path), reason)]) from None
    return [Record(f"{path}: item {row + 1}", fields) for row, fields in enumerate(items)]


def _of_frame(fields: dict[str, Any]) -> dict[str, Any]:
    """Convert a frame's row to the format of the other files."""
    if "c1_sentence" not in fields:
        return fields
    three = [{key: fields.get(f"c{place}_{key}") for key in ("sentence", "gold_label")} for place in (1, 2, 3)]
    return {**fields, "sentences": three}


VARIANT = StereoSet
