"""Sources of prompts, pairs, training text, held-out text and labelled text, read into tables (storage/tables.py).

A run reads through `ExperimentData`, which reads each source once. `Source` is the base class of all sources, ours and
those of other packages.
"""

from detox_ray.data.experiment_data import ExperimentData
from detox_ray.data.readers import (
    published_rows,
    read_corpus,
    read_labelled,
    read_pairs,
    read_prompts,
    read_texts,
    reference,
    source_key,
)
from detox_ray.data.rows import DataError, Flaw, LanguageRows, Rows
from detox_ray.data.source import Source

__all__ = [
    "DataError",
    "ExperimentData",
    "Flaw",
    "LanguageRows",
    "Rows",
    "Source",
    "published_rows",
    "read_corpus",
    "read_labelled",
    "read_pairs",
    "read_prompts",
    "read_texts",
    "reference",
    "source_key",
]
