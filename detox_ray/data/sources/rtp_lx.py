"""RTP-LX (de Wynter et al., AAAI 2025): a folder of RTP_LX_{LOCALE}.json, which are JSON Lines.

Both published formats are read: the newer one (May 2024: `PromptAnnotations`, majority votes, `BenignCompletion`) and
V0.2 (`Annotations`, averages, no benign completions). Prompts that occur twice stay twice: whether they are pooled is
the measure's convention.

As preference pairs the benign completion is chosen and the toxic one rejected. About a third of the English toxic
completions repeat their prompt in another case or punctuation, and about half begin with a line break, while benign
ones begin with their first word. Both are therefore brought to one form (`continuation`): without the prompt, and
beginning with a space in languages that put spaces between words. Else the form alone would tell them apart.
"""

import unicodedata
from pathlib import Path
from typing import Any

from detox_ray.config.languages import LANGUAGES, read_tag
from detox_ray.data.record_files import parse
from detox_ray.data.rows import Flaw, Record, RowError, Share, index_of, json_of, kind, pair_of, row_id, text_of

SOURCE = "rtp-lx"
UNSPACED = ("Hans", "Jpan")  # scripts that put no space between words


def file_of(folder: Path, language: str) -> Path:
    return folder / f"RTP_LX_{LANGUAGES[language].rtp_lx_locale}.json"


def read_prompts(folder: Path, language: str) -> Share:
    """Rows of PROMPTS of one language."""
    share = Share([], [], [])
    parse(file_of(folder, language), share, lambda record: _prompt(record, language))
    return share


def read_pairs(folder: Path, language: str) -> Share:
    """Rows of PAIRS of one language. Records that lack one of the completions are no pair: a note counts them."""
    path = file_of(folder, language)
    share = Share([], [], [])
    records = parse(path, share, lambda record: _pair(record, language))
    single = records - len(share.rows) - len(share.flaws)
    if single:
        share.notes.append(f"{path}: {single} records without a benign or a toxic completion are no pair")
    if single and not share.rows:
        reason = (
            f"holds no pairs: none of its {records} records has both a BenignCompletion and a Completion "
            "(V0.2 of RTP-LX has no benign completions: take a newer one, or another language)"
        )
        share.flaws.append(Flaw(str(path), reason))
    return share


def _prompt(record: Record, language: str) -> dict[str, Any]:
    fields = fields_of(record, language)
    index = index_of(fields, "Index")
    if index is None:
        raise RowError("has no field 'Index'")
    annotations = fields.get("PromptAnnotations", fields.get("Annotations"))
    if annotations is not None and not isinstance(annotations, dict):
        raise RowError(f"the annotations must be an object, not {kind(annotations)}")
    if annotations is not None and fields.get("Dialect"):
        annotations = annotations | {"Dialect": fields["Dialect"]}
    return {
        "prompt_id": row_id(language, record.row),
        "text": text_of(fields, "Prompt"),
        "source": SOURCE,
        "source_index": index,
        "annotations": json_of({"annotations": annotations}, "annotations"),
    }


def _pair(record: Record, language: str) -> dict[str, Any] | None:
    fields = fields_of(record, language)
    prompt = text_of(fields, "Prompt")
    if not fields.get("BenignCompletion") or not fields.get("Completion"):
        return None
    spaced = LANGUAGES[language].script not in UNSPACED
    chosen, rejected = (
        continuation(prompt, text_of(fields, name), spaced) for name in ("BenignCompletion", "Completion")
    )
    return pair_of(row_id(language, record.row), prompt, chosen, rejected, language)


def fields_of(record: Record, language: str) -> dict[str, Any]:
    """The record, where its Locale is the language's; else RowError. PT holds "PT" and "Pt-Br", ZH-Hans holds "ZH"."""
    fields = record.fields()
    locale = fields.get("Locale")
    if locale is not None and (read_tag(str(locale)) != language or "hant" in str(locale).lower()):
        raise RowError(f"Locale {str(locale)[:20]!r} is not of language {language}")
    return fields


def continuation(prompt: str, completion: str, spaced: bool) -> str:
    """What the completion adds to the prompt, so that the two can be concatenated."""
    text = without_prompt(prompt, completion).lstrip()
    begins_a_word = bool(text) and unicodedata.category(text[0])[0] in "LN"
    return f" {text}" if spaced and begins_a_word and not prompt[-1:].isspace() else text


def without_prompt(prompt: str, completion: str) -> str:
    """The completion without the prompt it repeats, exactly or up to case, spaces and punctuation; else as it is."""
    if completion.startswith(prompt):
        return completion[len(prompt) :]
    wanted = [character for character in prompt.casefold() if _is_word(character)]
    matched = 0
    for position, character in enumerate(completion):
        if matched == len(wanted):
            # "I am a" is not repeated by "I am alone".
            return completion if not matched or _is_word(character) else completion[position:]
        for folded in character.casefold():
            if _is_word(folded):
                if matched == len(wanted) or folded != wanted[matched]:
                    return completion
                matched += 1
    return "" if wanted and matched == len(wanted) else completion


def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
