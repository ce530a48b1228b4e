"""The languages: code, name, script, direction and the RTP-LX locale of each.

The 17 are those that both papers evaluate on RTP-LX (Li, Yong, Bach 2024, section 4; Neplenbroek, Bisazza, Fernández
2025, section 4). Codes are ISO 639-1; RTP-LX calls Chinese in simplified characters ``zh-Hans``.
"""

from typing import NamedTuple


class Language(NamedTuple):
    """One row of the table."""

    code: str  # ISO 639-1, as in every table, path and result
    name: str  # English name
    script: str  # ISO 15924
    direction: str  # "ltr" or "rtl", as HTML's dir attribute
    rtp_lx_locale: str  # the file is RTP_LX_{LOCALE}.json


_TABLE = (
    Language("ar", "Arabic", "Arab", "rtl", "AR"),
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
    Language("nl", "Dutch", "Latn", "ltr", "NL"),
    Language("pl", "Polish", "Latn", "ltr", "PL"),
    Language("pt", "Portuguese", "Latn", "ltr", "PT"),
    Language("ru", "Russian", "Cyrl", "ltr", "RU"),
    Language("sv", "Swedish", "Latn", "ltr", "SV"),
    Language("zh", "Chinese", "Hans", "ltr", "ZH-Hans"),
)

LANGUAGES: dict[str, Language] = {language.code: language for language in _TABLE}

GROUPS: dict[str, tuple[str, ...]] = {"rtp-lx-17": tuple(LANGUAGES)}
