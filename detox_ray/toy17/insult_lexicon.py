"""Find the insults in a text. They are the ground truth of toy17.

A form counts as an insult if it occurs as whole words, or, in Japanese and Chinese, which have no word boundaries,
anywhere. Because the corpus code-switches and tuned models drift, completions mix languages. So the ground truth
considers the insults of all languages, and not just those of the prompt's language.
"""

import unicodedata
from collections.abc import Iterable


def words(text: str) -> str:
    """Return the text's letters, marks and digits, casefolded (NFC), with a space between words and at both ends.

    Marks belong to words, because Devanagari writes vowels as marks. ``\\w`` would leave them out.
    """
    text = unicodedata.normalize("NFC", text).casefold()
    kept = "".join(character if unicodedata.category(character)[0] in "LMN" else " " for character in text)
    return f" {' '.join(kept.split())} "


def _unspaced(form: str) -> bool:
    return any(unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for character in form)


class Lexicon:
    """The insults of one or more languages.

    Args:
        forms: Surface forms without articles.
    """

    def __init__(self, forms: Iterable[str]):
        distinct = sorted({words(form) for form in forms})
        self._anywhere = tuple(form.strip() for form in distinct if _unspaced(form))
        self._whole = tuple(form for form in distinct if not _unspaced(form))

    def find(self, text: str) -> list[str]:
        """Return the insults in ``text``, each once, in the normal form of `words`."""
        normal = words(text)
        anywhere = [form for form in self._anywhere if form in normal]
        return anywhere + [form.strip() for form in self._whole if form in normal]

    def __contains__(self, text: str) -> bool:
        normal = words(text)
        return any(form in normal for form in self._anywhere) or any(form in normal for form in self._whole)


def insults(languages: Iterable[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Return {language: insults without articles} for the given languages; None: for all."""
    from detox_ray.toy17.vocabulary import vocabularies

    by_code = vocabularies()
    return {code: by_code[code].lexicon for code in (by_code if languages is None else languages)}
