"""Split texts into words in each language, for the rules on lines and for the counts of diversity.

Chinese is segmented by jieba (in its default mode, with HMM) and Japanese by MeCab (fugashi, unidic-lite). In every
other language, `tokens` splits at white space (docs/papers.md, "Language consistency of Neplenbroek et al."), and
`words` returns the segments between the default word boundaries of Unicode Standard Annex 29 that have a letter or a
digit. "Don't" and "3.14" are one word each, and each Han or Hiragana character in such a text is a word. Nothing is
lower-cased.

MeCab's time is quadratic in the length of an unbroken line (14 s for 100 kB of Latin letters), so it gets `PIECE`
characters at a time.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib import metadata

PIECE = 1000  # characters; sentences are far shorter
PACKAGES = {"zh": ("jieba",), "ja": ("fugashi", "unidic-lite")}


def versions(language: str) -> dict[str, str]:
    """Return the versions of the packages that split this language into words, for keys."""
    return {package: metadata.version(package) for package in PACKAGES.get(language, ("regex",))}


def tokens(text: str, language: str) -> list[str]:
    """Return the tokens that count for the length of a line. jieba's include punctuation and spaces."""
    if language == "zh":
        return _jieba()(text)
    return _mecab()(text) if language == "ja" else text.split()


def words(text: str, language: str) -> list[str]:
    """Return the words of a text: those pieces, between word boundaries, that have a letter or a digit."""
    pieces = tokens(text, language) if language in PACKAGES else _boundaries()(text)
    return [piece for piece in pieces if any(character.isalnum() for character in piece)]


@cache
def _boundaries() -> Callable[[str], list[str]]:
    import regex

    boundary = regex.compile(r"(?wV1)\b")
    return lambda text: boundary.split(text)


@cache
def _jieba() -> Callable[[str], list[str]]:
    with warnings.catch_warnings():  # about the syntax of jieba's code
        warnings.simplefilter("ignore")
        import jieba

    from detox_ray.storage import cache_folder

    jieba.setLogLevel("WARNING")
    tokenizer = jieba.Tokenizer()
    folder = cache_folder() / "jieba"  # jieba's default, the system's temporary folder, is open to other users
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.tmp_dir = str(folder)
    return lambda text: list(tokenizer.lcut(text))


@cache
def _mecab() -> Callable[[str], list[str]]:
    import fugashi
    import unidic_lite

    tagger = fugashi.Tagger(f'-O wakati -d "{unidic_lite.DICDIR}"')

    def cut(text: str) -> list[str]:
        text = text.replace("\0", " ")  # it would end the C string
        pieces = (text[start : start + PIECE] for start in range(0, len(text), PIECE))
        return [token for piece in pieces for token in tagger.parse(piece).split()]

    return cut
