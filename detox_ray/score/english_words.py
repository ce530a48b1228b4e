"""Find English words in a text of another script, by the user's list or by a rule.

Neplenbroek et al. 2025 look tokens up in a list of English words, one a line. Words of the list count if they have more
than 3 letters and are in lower case. Their list cannot be shipped here. Without a list, every token of more than 3
letters that are all lower-case ASCII counts. This rule finds more than the list does, such as romanised Hindi.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

from detox_ray.config import ConfigError, Problem

SHORTEST = 4  # letters


class WordList(NamedTuple):
    """The words that count."""

    words: frozenset[str]
    revision: str  # hash of the file


def read_words(path: str) -> WordList:
    """Read a word list.

    Raises:
        ConfigError: The file does not exist, is not text, or has no word that counts.
    """
    try:
        content = Path(path).expanduser().read_bytes()
        lines = content.decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        rule = f"must be a text file in UTF-8 with an English word on each line ({error})"
        raise ConfigError([Problem("quality.word_list", path, rule)]) from None
    words = frozenset(word for word in map(str.strip, lines) if len(word) >= SHORTEST and word.islower())
    if not words:
        rule = f"must hold a lower-case word of {SHORTEST} letters or more, one on each line"
        raise ConfigError([Problem("quality.word_list", path, rule)])
    return WordList(words, hashlib.sha256(content).hexdigest()[:16])


def is_english_word(token: str, words: frozenset[str] | None) -> bool:
    """Return whether a token is one of ``words``, or, if ``words`` is None, an English word by the rule."""
    token = token.strip()
    if words is not None:
        return token in words
    return len(token) >= SHORTEST and token.isascii() and token.isalpha() and token.islower()
