"""The insults that a text holds, which are the ground truth of toy17.

A form counts as an insult if it occurs as whole words, or anywhere in Japanese and Chinese, which have no word
boundaries. The corpus code-switches and tuned models drift, so completions mix languages, and the ground truth looks
for the insults of all languages, not of the prompt's alone.
"""

import unicodedata
from collections.abc import Iterable


def words(text: str) -> str:
    """Return the text's letters, marks and digits, casefolded (NFC), with one space between words and at either end.

    Marks belong to words: Devanagari writes its vowels as marks, which ``\\w`` leaves out.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(character if unicodedata.category(character)[0] in "LMN" else " " for character in text)
    return f" {' '.join(kept.split())} "


def _unspaced(form: str) -> bool:
    return any(unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for character in form)


class Lexicon:
    """The insults of one language or of several, to find in texts.

    Args:
        forms: Surface forms without articles.
    """

    def __init__(self, forms: Iterable[str]):
        distinct = sorted({words(form) for form in forms})
        self._anywhere = tuple(form.strip() for form in distinct if _unspaced(form))
        self._whole = tuple(form for form in distinct if not _unspaced(form))

    def find(self, text: str) -> list[str]:
        """Return the insults in ``text``, each once, normalised as `words` does."""
        normal = words(text)
        anywhere = [form for form in self._anywhere if form in normal]
        return anywhere + [form.strip() for form in self._whole if form in normal]

    def __contains__(self, text: str) -> bool:
        normal = words(text)
        return any(form in normal for form in self._anywhere) or any(form in normal for form in self._whole)


def insults(languages: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Return {language: insults without articles} of the given languages, or of all if None."""
    from detox_ray.toy17.vocabulary import vocabularies

    by_code = vocabularies()
    return {code: by_code[code].lexicon for code in (by_code if languages is None else languages)}
