"""Language tags: what people and files write for the codes of the table."""

import pytest

from detox_ray.config.languages import LANGUAGES, is_tag, read_tag, tags_note, unknown_rule


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        *((code, code) for code in LANGUAGES),
        *((language.rtp_lx_locale, code) for code, language in LANGUAGES.items() if language.rtp_lx_locale),
        ("EN", "en"), (" en ", "en"), ("en-US", "en"), ("en_GB", "en"), ("eng", "en"), ("eng_Latn", "en"),
        ("zh-Hans", "zh"), ("zh_CN", "zh"), ("zh-Hant-TW", "zh"), ("ZH-HANS", "zh"), ("zho_Hans", "zh"), ("cmn", "zh"),
        ("pt-BR", "pt"), ("pt_PT", "pt"), ("Pt-Br", "pt"), ("es-419", "es"), ("ja-JP-u-ca-japanese", "ja"),
        ("in", "id"), ("arb_Arab", "ar"), ("ar-EG", "ar"), ("ger", "de"), ("deu", "de"), ("de-DE-1996", "de"),
        ("hi-Deva", "hi"), ("ko-Hang", "ko"), ("ja-Hira", "ja"), ("sv-SE", "sv"),
    ],
)  # fmt: skip
def test_a_tag_is_read_as_its_language(tag: str, code: str) -> None:
    assert read_tag(tag) == code


@pytest.mark.parametrize(
    "tag", ["iw", "he", "fi", "xx", "hi-Latn", "ru_Latn", "English", "en US", "", "e", "en-", "-en", "en--US", "中文"]
)
def test_other_languages_and_transliterations_are_none_of_ours(tag: str) -> None:
    assert read_tag(tag) is None


def test_a_name_is_no_tag_and_the_rule_says_the_code() -> None:
    assert is_tag("xx-YY") and is_tag("tr") and not is_tag("English") and not is_tag("en US")
    assert unknown_rule("german").endswith("(write de)")
    assert unknown_rule("xx") == f"unknown language; known: {' '.join(LANGUAGES)}"


def test_the_note_names_only_what_was_written_otherwise() -> None:
    assert tags_note({"en": 3, "fr": 1, "tr": 2}) is None
    assert tags_note({"pt-PT": 1, "pt-BR": 2, "en": 3, "EN": 4}) == (
        "language tags read: 'EN' (4) as en; 'pt-BR' (2), 'pt-PT' (1) as pt"
    )
