"""Data: sources of prompts, pairs, text to train on, held-out and labelled text -> tables (storage/tables.py).

A run asks `ExperimentData`, which reads each source once. What a source is, ours or another package's: `Source`.
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
