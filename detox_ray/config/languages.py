"""The languages: code, name, script, direction and RTP-LX locale of each.

Both papers evaluate 17 of them on RTP-LX (Li, Yong, Bach 2024, section 4; Neplenbroek, Bisazza, Fernández 2025, section
4). Neplenbroek et al. measure only bias or ability in the others. Codes are ISO 639-1; RTP-LX calls Chinese in
simplified characters ``zh-Hans``. Only `read_tag` reads the tags that users and their files write instead (``EN``,
``pt-BR``, ``zh_Hant_TW``, ``deu``).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Language(NamedTuple):
    """A language and the facts about it that the program uses."""

    code: str  # ISO 639-1, as in every table, path and result
    name: str  # English name
    script: str  # ISO 15924
    direction: str  # "ltr" or "rtl", as HTML's dir attribute
    rtp_lx_locale: str | None  # the file is RTP_LX_{LOCALE}.json; None: RTP-LX does not have the language


_TABLE = (
    Language("ar", "Arabic", "Arab", "rtl", "AR"),
    Language("ca", "Catalan", "Latn", "ltr", None),
    Language("cs", "Czech", "Latn", "ltr", "CS"),
    Language("de", "German", "Latn", "ltr", "DE"),
    Language("en", "English", "Latn", "ltr", "EN"),
    Language("es", "Spanish", "Latn", "ltr", "ES"),
    Language("fr", "French", "Latn", "ltr", "FR"),
    Language("hi", "Hindi", "Deva", "ltr", "HI"),
    Language("id", "Indonesian", "Latn", "ltr", "ID"),
    Language("it", "Italian", "Latn", "ltr", "IT"),
    Language("ja", "Japanese", "Jpan", "ltr", "JA"),
    Language("ko", "Korean", "Kore", "ltr", "KO"),
    Language("mt", "Maltese", "Latn", "ltr", None),
    Language("nl", "Dutch", "Latn", "ltr", "NL"),
    Language("pl", "Polish", "Latn", "ltr", "PL"),
    Language("pt", "Portuguese", "Latn", "ltr", "PT"),
    Language("ru", "Russian", "Cyrl", "ltr", "RU"),
    Language("sv", "Swedish", "Latn", "ltr", "SV"),
    Language("tr", "Turkish", "Latn", "ltr", None),
    Language("zh", "Chinese", "Hans", "ltr", "ZH-Hans"),
)

LANGUAGES: dict[str, Language] = {language.code: language for language in _TABLE}

GROUPS: dict[str, tuple[str, ...]] = {
    "rtp-lx-17": tuple(language.code for language in _TABLE if language.rtp_lx_locale is not None),
    "neplenbroek-20": tuple(LANGUAGES),
}

# Other codes of the same languages: ISO 639-2/T, 639-2/B, withdrawn codes of 639-1, standard Arabic and Mandarin.
_SYNONYMS = {
    "ara": "ar", "arb": "ar", "cat": "ca", "ces": "cs", "cze": "cs", "deu": "de", "ger": "de", "eng": "en", "spa": "es",
    "fra": "fr", "fre": "fr", "hin": "hi", "ind": "id", "in": "id", "ita": "it", "jpn": "ja", "kor": "ko", "mlt": "mt",
    "nld": "nl", "dut": "nl", "pol": "pl", "por": "pt", "rus": "ru", "swe": "sv", "tur": "tr", "zho": "zh", "chi": "zh",
    "cmn": "zh",
}  # fmt: skip
# Other scripts of a language. Any script that is not listed is a transliteration (hi-Latn), which no scorer reads.
_OTHER_SCRIPTS = {"Hans": ("hant", "hani"), "Jpan": ("hira", "kana", "hrkt"), "Kore": ("hang",)}
_TAG = re.compile(r"[a-z]{2,3}(-[a-z0-9]{1,8})*")


def is_tag(text: str) -> bool:
    """Return whether the text has the form of a language tag (BCP 47, with "-" or "_")."""
    return _TAG.fullmatch(_plain(text)) is not None


def read_tag(text: str) -> str | None:
    """Return the code of the language that a tag names, or None if `LANGUAGES` does not hold it.

    Case does not matter, nor does a region: ``EN``, ``en-US``, ``en_GB`` and ``eng`` are ``en``; ``zh-Hans``, ``zh_CN``
    and ``zh-Hant-TW`` are ``zh``. A transliteration is not the language: ``hi-Latn`` is None.
    """
    if not is_tag(text):
        return None
    primary, *others = _plain(text).split("-")
    language = LANGUAGES.get(_SYNONYMS.get(primary, primary))
    if language is None:
        return None
    scripts = [part for part in others if len(part) == 4 and part.isalpha()]
    known = (language.script.lower(), *_OTHER_SCRIPTS.get(language.script, ()))
    return language.code if all(script in known for script in scripts[:1]) else None


def unknown_rule(text: str) -> str:
    """Return the rule that a text breaks if `read_tag` returns None for it."""
    meant = [language.code for language in _TABLE if language.name.lower() == text.strip().lower()]
    return f"unknown language; known: {' '.join(LANGUAGES)}" + (f" (write {meant[0]})" if meant else "")


def tags_note(counts: Mapping[str, int]) -> str | None:
    """Return a note on the tags that differ from their language's code, or None if there are none.

    Args:
        counts: Tag as written -> number of rows.
    """
    tags_by_language: dict[str, list[str]] = {}
    for tag, count in sorted(counts.items()):
        language = read_tag(tag)
        if language is not None and language != tag:
            tags_by_language.setdefault(language, []).append(f"{tag!r} ({count})")
    if not tags_by_language:
        return None
    return "language tags read: " + "; ".join(
        f"{', '.join(tags)} as {language}" for language, tags in sorted(tags_by_language.items())
    )


def _plain(text: str) -> str:
    return text.strip().lower().replace("_", "-")
