"""Tatoeba's sentence pairs as the script of Neplenbroek et al. 2025 reads them: a quotation mark opens a quoted field.

A sentence that begins with a quotation mark therefore swallows everything up to the next one. Use this source only to
compare with their prompts.
"""

import csv

from detox_ray.data.sources.tatoeba import Tatoeba


class TatoebaQuoted(Tatoeba):
    """The same folder, read with pandas' defaults. As in the script, bad lines of three languages are skipped."""

    name = "tatoeba-neplenbroek2025"
    quoting = csv.QUOTE_MINIMAL
    skips_bad_lines = ("it", "nl", "ru")
    words_for_missing = True


VARIANT = TatoebaQuoted
