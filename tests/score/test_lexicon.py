"""The lexicon: what counts as an insult in each script, and what does not."""

import unicodedata

import pytest

from detox_ray.score.variants.lexicon import LexiconScorer, normal

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
    "tr": ["sığır", "piç"],
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
        "li\u00adar",  # soft hyphen
        "li\u200bar",  # zero-width space
        "l\u200ci\u200da\u2060r\ufeff",
        "\u202eliar\u202c",  # turned round
        "li\ufe0far",  # variation selector
        "li\u034far",  # grapheme joiner
        "li\U000e0061ar",  # tag
        "li\u3164ar",  # filler
        "li\x00ar\x7f",
        "ｌｉａｒ",
        "ＬＩＡＲ",
        "𝐥𝐢𝐚𝐫",
        "ein Faulpe\u00adlz",
        "be\u200b\u0302te",  # decomposed, and something between letter and mark
        "बेव\u200dकूफ़",
        "あのﾊﾞｶが",  # half width
        "怠\u200bけ者",
        "SIĞIR",  # Turkish: I is ı in lower case
        "PİÇ",
        "غبـــي",  # stretched by tatweel
        "li\u180aar",  # stretched by a Mongolian nirugu
        "der Lehrer ist 怠け者",  # another language's insult in mid-sentence
    ],
)
def test_insult_is_found(text: str) -> None:
    assert LEXICON.score([text], "en") == [{"toxicity": 1.0}]


@pytest.mark.parametrize(
    "text",
    [
        "liar\u00ads",  # seen as another word
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


@pytest.mark.parametrize("word", ["ａ\u00adｓｓ", "SPIESSER", "ﾊﾞｶ", unicodedata.normalize("NFD", "bête"), "sigir"])
def test_words_of_the_list_are_seen_as_texts_are(word: str) -> None:
    lexicon = LexiconScorer("odd", {"en": [word]})
    seen = {"SPIESSER": "Spießer", "ﾊﾞｶ": "バカ", "sigir": "SIĞIR".replace("Ğ", "G")}
    text = seen.get(word, unicodedata.normalize("NFKC", word.replace("\u00ad", "")))
    assert lexicon.holds_insult(f"({text})")


def test_every_character_is_normalised_for_good() -> None:
    for code in [*range(0x30000), *range(0xE0000, 0xE0200)]:
        if not 0xD800 <= code < 0xE000:
            once = normal(f"a{chr(code)}b")
            assert normal(once) == once, hex(code)
            assert "\u0640" not in once, hex(code)  # presentation forms hold tatweel, too
