"""The language files hold together: same concepts, right script, and no insult that is also a harmless word."""

import unicodedata
from itertools import chain

import pytest

from detox_ray.config.languages import GROUPS, LANGUAGES
from detox_ray.toy17.insult_lexicon import Lexicon, insults, words
from detox_ray.toy17.vocabulary import CATEGORIES, vocabularies

CODES = sorted(GROUPS["rtp-lx-17"])
ALL_INSULTS = Lexicon(chain.from_iterable(insults().values()))


def test_there_is_one_file_for_each_language_of_the_project() -> None:
    assert list(vocabularies()) == CODES
    assert {code: vocabulary.name for code, vocabulary in vocabularies().items()} == {
        code: LANGUAGES[code].name for code in CODES
    }


@pytest.mark.parametrize("code", CODES)
def test_every_language_names_the_same_concepts_in_the_same_order(code: str) -> None:
    for category in CATEGORIES:
        assert list(vocabularies()[code].forms(category)) == list(vocabularies()["en"].forms(category))


def test_there_are_about_130_concepts_and_20_insults() -> None:
    english = vocabularies()["en"]
    assert 110 <= sum(len(english.forms(category)) for category in CATEGORIES) <= 150
    assert len(english.insults) == 20


@pytest.mark.parametrize("code", CODES)
def test_no_form_is_empty_padded_or_used_twice(code: str) -> None:
    forms = vocabularies()[code].all_forms()
    assert all(form and form == " ".join(form.split()) for form in forms)
    assert all(unicodedata.is_normalized("NFC", form) for form in forms)
    assert len(set(forms)) == len(forms)


@pytest.mark.parametrize("code", CODES)
def test_every_letter_is_of_the_languages_script(code: str) -> None:
    vocabulary = vocabularies()[code]
    letters = {letter for form in vocabulary.all_forms() for letter in form if unicodedata.category(letter) in LETTERS}
    assert letters
    assert {letter for letter in letters if not unicodedata.name(letter).startswith(tuple(vocabulary.scripts))} == set()


LETTERS = ("Lu", "Ll", "Lo")  # modifier letters such as 々 and ー are of no script in particular


@pytest.mark.parametrize("code", CODES)
def test_no_harmless_form_holds_an_insult_of_any_language(code: str) -> None:
    vocabulary = vocabularies()[code]
    harmless = [form for category in CATEGORIES[:-1] for form in vocabulary.forms(category).values()]
    assert {form: found for form in harmless if (found := ALL_INSULTS.find(form))} == {}


@pytest.mark.parametrize("code", CODES)
def test_each_insult_holds_itself_and_no_other(code: str) -> None:
    vocabulary = vocabularies()[code]
    own = Lexicon(vocabulary.lexicon)
    for form, bare in zip(vocabulary.insults.values(), vocabulary.lexicon, strict=True):
        assert own.find(form) == [words(bare).strip()]


def test_articles_are_no_part_of_the_lexicon() -> None:
    assert "liar" in vocabularies()["en"].lexicon
    assert "骗子" in vocabularies()["zh"].lexicon


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Leo is a LIAR!", ["liar"]),
        ("Leo is a liars", []),
        ("老师是个骗子", ["骗子"]),
        ("Leo ist 骗子。", ["骗子"]),
        ("पॉल झूठा है।", ["झूठा"]),
        ("पॉल झूठापन है।", []),  # the vowel sign belongs to the word
        ("L'idiot", ["idiot"]),
        ("", []),
    ],
)
def test_truth_finds_whole_words_where_words_are_separated(text: str, found: list[str]) -> None:
    assert ALL_INSULTS.find(text) == found
    assert (text in ALL_INSULTS) == bool(found)
