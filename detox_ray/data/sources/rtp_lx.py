"""RTP-LX (de Wynter et al., AAAI 2025): a folder of RTP_LX_{LOCALE}.json, which are JSON Lines.

Both published formats are read: the newer one (May 2024: `PromptAnnotations`, majority votes, `BenignCompletion`) and
V0.2 (`Annotations`, averages, no benign completions). Prompts that occur twice are kept twice; the measure's convention
decides whether they are pooled.

In preference pairs, the benign completion is chosen and the toxic one rejected. About a third of the English toxic
completions repeat their prompt with other case or punctuation, and about half begin with a line break, while benign
ones begin with their first word. A model could tell them apart by this form alone, so `continuation` gives both the
same one: without the prompt, and with a leading space in languages that put spaces between words.

As labelled text, prompts and toxic completions have their `Toxicity` from 1 to 5 (majority vote; V0.2: mean) as grade.
Benign completions are not annotated and are left out. Prompt and completion of a record form one cluster.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from detox_ray.config.languages import LANGUAGES, read_tag
from detox_ray.data.fields import (
    RowError,
    index_of,
    is_blank,
    json_of,
    json_type,
    number_of,
    pair_of,
    row_id,
    text_of,
)
from detox_ray.data.record_files import parse, records
from detox_ray.data.rows import DataError, Flaw, LanguageRows, Record
from detox_ray.data.source import Source

Fields = dict[str, Any]

UNSPACED = ("Hans", "Jpan")  # scripts that put no space between words
GRADES = (1.0, 5.0)  # the lowest and the highest toxicity
# Field of a text -> fields that hold its annotations, in the newer format and in V0.2.
ANNOTATIONS = {"Prompt": ("PromptAnnotations", "Annotations"), "Completion": ("CompletionAnnotations",)}


class RtpLx(Source):
    """A folder of RTP_LX_*.json, one per language."""

    name = "rtp-lx"
    reads = ("prompts", "pairs", "labelled")
    # docs/papers.md, "RTP-LX"
    published_rows: ClassVar[Mapping[str, int]] = {
        "ar": 1050, "cs": 1038, "de": 1029, "en": 999, "es": 1098, "fr": 1038, "hi": 1115, "id": 1099, "it": 1113,
        "ja": 1070, "ko": 1099, "nl": 1075, "pl": 1099, "pt": 1095, "ru": 1225, "sv": 1049, "zh": 1034,
    }  # fmt: skip

    def prompts(self, languages: Sequence[str]) -> dict[str, LanguageRows]:
        """Return rows of PROMPTS by language. Raises DataError with every language whose file cannot be read."""
        self._check_folder()
        by_language = {language: LanguageRows() for language in languages}
        unreadable: list[Flaw] = []
        for language, result in by_language.items():
            try:
                parse(self._file(language), result, partial(self._prompt, language=language))
            except DataError as error:
                unreadable.extend(error.flaws)
        if unreadable:
            raise DataError(unreadable)
        return by_language

    def pairs(self, language: str) -> LanguageRows:
        """Return rows of PAIRS. Records that lack one of the completions are left out and counted in a note."""
        path = self._file(language)
        result = LanguageRows()
        count = parse(path, result, lambda record: _pair(record, language))
        incomplete = count - len(result.rows) - len(result.flaws)
        if incomplete:
            result.notes.append(f"{path}: left out {incomplete} records without a benign or a toxic completion")
        if incomplete and not result.rows:
            reason = (
                f"has no pairs: none of its {count} records has both a BenignCompletion and a Completion "
                "(V0.2 of RTP-LX has no benign completions: use a newer version, or another language)"
            )
            result.flaws.append(Flaw(str(path), reason))
        return result

    def labelled(self, languages: Sequence[str], toxic_from: float) -> dict[str, LanguageRows]:
        """Return rows of LABELLED by language; a language without a file has none. Raises DataError."""
        self._check_folder()
        by_language = {language: LanguageRows() for language in languages}
        for language, result in by_language.items():
            if LANGUAGES[language].rtp_lx_locale is None:
                continue
            path = self._file(language)
            for record in records(path) if path.exists() else ():
                try:
                    result.rows.extend(self._judged_texts(record, language, toxic_from))
                except RowError as error:
                    result.flaws.append(Flaw(f"{path}:{record.line}", str(error)))
        return by_language

    def _check_folder(self) -> None:
        if not self.path.is_dir():
            raise DataError([Flaw(str(self.path), "must be a folder of RTP_LX_*.json")])

    def _file(self, language: str) -> Path:
        locale = LANGUAGES[language].rtp_lx_locale
        if locale is None:
            raise DataError([Flaw(language, "RTP-LX does not have this language: remove it from languages")])
        return self.path / f"RTP_LX_{locale}.json"

    def _prompt(self, record: Record, language: str) -> Fields:
        fields = _fields(record, language)
        index = index_of(fields, "Index")
        if index is None:
            raise RowError("has no field 'Index'")
        annotations = fields.get("PromptAnnotations", fields.get("Annotations"))
        if annotations is not None and not isinstance(annotations, dict):
            raise RowError(f"the annotations must be an object, not {json_type(annotations)}")
        if annotations is not None and fields.get("Dialect"):
            annotations = annotations | {"Dialect": fields["Dialect"]}
        return {
            "prompt_id": row_id(language, record.row),
            "text": text_of(fields, "Prompt"),
            "source": self.name,
            "source_index": index,
            "annotations": json_of({"annotations": annotations}, "annotations"),
        }

    def _judged_texts(self, record: Record, language: str, toxic_from: float) -> list[Fields]:
        """Return a row for each annotated text of a record. Raises RowError if an annotation is not valid."""
        fields = _fields(record, language)
        cluster = row_id(language, record.row)
        rows = []
        for name, sources in ANNOTATIONS.items():
            annotations = next((fields[source] for source in sources if fields.get(source) is not None), None)
            text = fields.get(name)
            if annotations is None or text is None or (isinstance(text, str) and is_blank(text)):
                continue
            if not isinstance(annotations, dict):
                raise RowError(f"the annotations of the {name} must be an object, not {json_type(annotations)}")
            grade = number_of(annotations, "Toxicity")
            if grade is None:
                continue
            if not GRADES[0] <= grade <= GRADES[1]:
                raise RowError(f"the {name}'s Toxicity must be from 1 to 5, not {grade:g}")
            rows.append(
                {
                    "text_id": f"{cluster}-{name.lower()}",
                    "cluster": cluster,
                    "text": text_of(fields, name),
                    "kind": name.lower(),
                    "grade": grade,
                    "toxic": grade >= toxic_from,
                    "source": self.name,
                }
            )
        return rows


def _pair(record: Record, language: str) -> Fields | None:
    fields = _fields(record, language)
    prompt = text_of(fields, "Prompt")
    if not fields.get("BenignCompletion") or not fields.get("Completion"):
        return None
    spaced = LANGUAGES[language].script not in UNSPACED
    chosen, rejected = (
        continuation(prompt, text_of(fields, name), spaced) for name in ("BenignCompletion", "Completion")
    )
    return pair_of(row_id(language, record.row), prompt, chosen, rejected, language)


def _fields(record: Record, language: str) -> Fields:
    """Return the record's fields. Raises RowError if its Locale names another language.

    The file of PT has the locales "PT" and "Pt-Br", that of ZH-Hans has "ZH".
    """
    fields = record.fields()
    locale = fields.get("Locale")
    if locale is not None and (read_tag(str(locale)) != language or "hant" in str(locale).lower()):
        raise RowError(f"Locale {str(locale)[:20]!r} is not of language {language}")
    return fields


def continuation(prompt: str, completion: str, spaced: bool) -> str:
    """Return what the completion adds to the prompt, in a form that can be appended to the prompt."""
    text = without_prompt(prompt, completion).lstrip()
    begins_a_word = bool(text) and unicodedata.category(text[0])[0] in "LN"
    return f" {text}" if spaced and begins_a_word and not prompt[-1:].isspace() else text


def without_prompt(prompt: str, completion: str) -> str:
    """Return the completion without the prompt, if it repeats that exactly or up to case, spaces and punctuation."""
    if completion.startswith(prompt):
        return completion[len(prompt) :]
    prompt_characters = [character for character in prompt.casefold() if _is_word(character)]
    matched = 0
    for position, character in enumerate(completion):
        if matched == len(prompt_characters):
            # "I am a" is not repeated by "I am alone".
            return completion if not matched or _is_word(character) else completion[position:]
        for folded in character.casefold():
            if _is_word(folded):
                if matched == len(prompt_characters) or folded != prompt_characters[matched]:
                    return completion
                matched += 1
    return "" if prompt_characters and matched == len(prompt_characters) else completion


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


VARIANT = RtpLx
