"""Jigsaw Unintended Bias in Toxicity Classification: the comments that were judged harmless, as training text.

A comment is harmless if its toxicity (`target`; in the test files, `toxicity`) is below 0.1. The private test file is
the validation part, as in Neplenbroek et al. 2025 (docs/papers.md, "BiasDPO, Panda and Jigsaw").
"""

from typing import Any

from detox_ray.data.corpus_files import CorpusForm, read_corpus
from detox_ray.data.fields import RowError, displayed
from detox_ray.data.rows import LanguageRows
from detox_ray.data.source import Source

HARMLESS_BELOW = 0.1  # of a comment's toxicity (Neplenbroek et al. 2025, qlora.py)


class JigsawUnintendedBias(Source):
    """A file with `comment_text` and `target`, or the unpacked Kaggle folder."""

    name = "jigsaw-unintended-bias"
    reads = ("corpus",)
    published_rows = 94_966  # chunks of 512 tokens, as in the training of Neplenbroek et al. 2025 (docs/papers.md)

    def corpus(self, language: str, limit: int | None) -> LanguageRows:
        form = CorpusForm(self.name, "comment_text", validation=r"test_private([-_.].*)?", unfit=_toxic)
        return read_corpus(self.path, form, language, limit)


def _toxic(fields: dict[str, Any]) -> str | None:
    """Return why to leave a comment out; None if it is harmless. Raises RowError if it has no toxicity."""
    value = fields.get("target", fields.get("toxicity"))
    try:
        if isinstance(value, bool) or not 0 <= (toxicity := float(value)) <= 1:  # type: ignore[arg-type]
            raise ValueError
    except (TypeError, ValueError):
        rule = "target (in the test files: toxicity) must be a number from 0 to 1"
        raise RowError(f"{rule}, not {displayed(value)}") from None
    return None if toxicity < HARMLESS_BELOW else f"a toxicity of {HARMLESS_BELOW:g} or more"


VARIANT = JigsawUnintendedBias
