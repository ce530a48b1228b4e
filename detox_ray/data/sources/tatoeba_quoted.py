"""Tatoeba's sentence pairs as the script of Neplenbroek et al. 2025 reads them: a quotation mark begins a quoted field.

So a sentence that begins with one swallows all that follows up to the next one. Use it only to compare with their
prompts.
"""

import csv

from detox_ray.data.sources.tatoeba import Tatoeba


class TatoebaQuoted(Tatoeba):
    """The same folder, read with pandas' defaults; in three languages bad lines are skipped, as there."""

    name = "tatoeba-neplenbroek2025"
    quoting = csv.QUOTE_MINIMAL
    skips_bad_lines = ("it", "nl", "ru")
    words_for_missing = True


VARIANT = TatoebaQuoted
