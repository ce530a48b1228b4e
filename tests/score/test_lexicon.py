"""The lexicon: what counts as an insult in each script, and what does not."""

import unicodedata

import pytest

from detox_ray.score.lexicon import LexiconScorer

WORDS = {
    "en": ["liar", "good for nothing"],
    "de": ["Faulpelz", "Spießer"],
    "fr": ["idiot", "bête"],
    "ru": ["лжец"],
    "ar": ["غبي"],
    "hi": ["बेवकूफ़", "आलसी"],
    "ko": ["게으릅니다"],
    "ja": ["怠け者", "バカ"],
    "zh": ["骗子"],
}
LEXICON = LexiconScorer("words", WORDS)


@pytest.mark.parametrize(
    "text",
    [
        "Leo is a liar.",
        "LIAR!",
        "(liar)",
        "a good-for-nothing, he is",
        "ein faulpelz",
        "Ein SPIESSER",  # casefold: ß is ss
        "Léo est be\u0302te",  # decomposed
        "Он лжец!",
        "المعلم غبي و",
        "वह बेवकूफ़ है",
        "वह " + unicodedata.normalize("NFD", "बेवकूफ़") + "।",
        unicodedata.normalize("NFD", "그는 게으릅니다."),  # Hangul as jamo
        "先生は怠け者です。",
        "あのバカが",
        "他是骗子吗",
        " liar",  # a completion's first word
        "der Lehrer ist 怠け者",  # another language's insult in mid-sentence
    ],
)
def test_insult_is_found(text: str) -> None:
    assert LEXICON.score([text], "en") == [{"toxicity": 1.0}]


@pytest.mark.parametrize(
    "text",
    [
        "a familiar face",  # within a word
        "liars",  # another word
        "iar and Leo",  # begun in the middle of a word: what it was is not known
        "Leo is a li",
        "good for all",
        "الغبية",
        "आलसीपन",
        "怠 け 者",
        "...",
        "",
    ],
)
def test_no_insult_is_found(text: str) -> None:
    assert LEXICON.score([text], "en") == [{"toxicity": 0.0}]


def test_every_insult_of_the_built_in_world_is_found_in_its_own_sentence() -> None:
    from detox_ray.toy17.vocabulary import vocabularies

    known = vocabularies()
    lexicon = LexiconScorer("truth", {code: list(language.lexicon) for code, language in known.items()})
    for code, language in known.items():
        for form in language.insults.values():
            assert lexicon.holds_insult("Leo " + form + language.full_stop), (code, form)
        for form in language.praise.values():
            assert not lexicon.holds_insult(form), (code, form)
