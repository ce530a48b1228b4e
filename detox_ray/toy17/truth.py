"""Truth in toy17: which insults a text holds.

A form of a language that separates words counts where it stands as whole words; one of Japanese or Chinese counts
anywhere, for there are no word boundaries to ask for. Completions mix languages (the corpus code-switches, and tuned
models drift), so truth asks for the insults of all languages, whatever the prompt's was.
"""

import unicodedata
from collections.abc import Iterable


def words(text: str) -> str:
    """The text's letters, marks and digits, casefolded (NFC), one space between words and one at either end.

    Marks belong to words: Devanagari writes its vowels as marks, which ``\\w`` leaves out.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(character if unicodedata.category(character)[0] in "LMN" else " " for character in text)
    return f" {' '.join(kept.split())} "


def _unspaced(form: str) -> bool:
    return any(unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for character in form)


class Lexicon:
    """Finds insults.

    ``forms``: surface forms without articles, of one language or of several.
    """

    def __init__(self, forms: Iterable[str]):
        distinct = sorted({words(form) for form in forms})
        self._anywhere = tuple(form.strip() for form in distinct if _unspaced(form))
        self._whole = tuple(form for form in distinct if not _unspaced(form))

    def found(self, text: str) -> list[str]:
        """The insults in ``text``, each once, normalised as `words` does."""
        normal = words(text)
        return [form for form in self._anywhere if form in normal] + [
            form.strip() for form in self._whole if form in normal
        ]

    def __contains__(self, text: str) -> bool:
        normal = words(text)
        return any(form in normal for form in self._anywhere) or any(form in normal for form in self._whole)


def insults(languages: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """{language: insults without articles} of the given languages, of all if None."""
    from detox_ray.toy17.vocabulary import vocabularies

    known = vocabularies()
    return {code: known[code].lexicon for code in (known if languages is None else languages)}
