"""Number and length of an experiment's rows: counted if the data is on this machine, published or assumed if not.

With a tokenizer, rows are cut, filtered and split as in training. Without one, a token is a fixed number of bytes.
"""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray import data
from detox_ray.config import TOY17, CorpusConfig, Experiment, InputError, PairsConfig, TrainConfig
from detox_ray.config.data import SourceConfig
from detox_ray.config.train import TEXTS
from detox_ray.estimate.assumptions import Assumptions
from detox_ray.models.codec import Encoder
from detox_ray.toy17 import DEFAULT
from detox_ray.train import data_split as training_data

SAMPLED_STEPS = 64  # batches drawn to measure padding
TOY17_TOKENS = 14  # in a sentence of the built-in world, on average


class Inputs(NamedTuple):
    """An experiment with its data, each kind of which is read once for a whole plan."""

    experiment: Experiment
    data: data.ExperimentData
    world: Path | None  # toy17's folder; None: it is not built, or not used

    def here(self, source: SourceConfig) -> bool:
        """Return whether the rows of a source are on this machine."""
        if source.source == TOY17:
            return self.world is not None
        return not source.path or Path(source.path).expanduser().exists()


class TrainingRows(NamedTuple):
    """The rows that one training learns from. Lengths are tokens of prompt and completion together."""

    train: int
    validation: int
    sequences: int  # per row: a pair has two
    mean: float  # tokens of a sequence
    padded: float  # tokens of a sequence with its padding, mean over steps
    longest: int | None  # tokens of the longest sequence; None: unknown
    assumption: str

    @property
    def padding_share(self) -> float:
        """Return the share of a step's tokens that is padding."""
        return 1 - self.mean / self.padded


class PromptRows(NamedTuple):
    """The prompts of all languages."""

    rows: int
    tokens: float  # mean of a prompt
    assumption: str


class ByteTokenizer:
    """A stand-in for a tokenizer: a token is a fixed number of bytes."""

    eos_token_id, bos_token_id = -1, None

    def __init__(self, bytes_per_token: float):
        self._bytes_per_token = bytes_per_token

    def __call__(self, texts: str | Sequence[str], **_: Any) -> dict[str, list[Any]]:
        if isinstance(texts, str):
            return {"input_ids": self._ids(texts)}
        return {"input_ids": [self._ids(text) for text in texts]}

    def _ids(self, text: str) -> list[int]:
        raw, width = text.encode(), self._bytes_per_token
        # Hashes of prefixes: a text that continues a prompt begins with the prompt's tokens, as with a real tokenizer.
        return [hash(raw[: round((place + 1) * width)]) for place in range(math.ceil(len(raw) / width))]


def tokenizer_at(folder: str | None, assumed: Assumptions) -> tuple[Any, str]:
    """Return the tokenizer in a model's folder, or a stand-in, and how tokens are counted, in words."""
    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if folder is not None and any(Path(folder, name).is_file() for name in names):
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True), "counted"
        except (OSError, ValueError):
            pass  # the folder's tokenizer is incomplete
    return ByteTokenizer(assumed.bytes_per_token), f"at {assumed.bytes_per_token:g} bytes a token"


def training_rows(
    inputs: Inputs, config: TrainConfig, field: str, tokenizer: tuple[Any, str], assumed: Assumptions
) -> TrainingRows:
    """Count the rows that a train block learns from.

    Args:
        inputs: The experiment and its data.
        config: The train block.
        field: The block's name in messages.
        tokenizer: A tokenizer and how it counts, from `tokenizer_at`.
        assumed: The assumptions about data that is not on this machine.

    Raises:
        InputError: The data is on this machine, but cannot be trained on.
    """
    corpus = config.train_on in TEXTS
    sequences = 2 if config.method in ("dpo", "orpo", "cpo") else 1
    source = inputs.experiment.data.corpus if corpus else inputs.experiment.data.pairs
    assert source is not None  # the experiment requires it
    if not inputs.here(source):
        return _assumed(config, source, sequences, assumed)
    read = {"corpus": inputs.data.corpus, "originals": inputs.data.originals}.get(
        config.train_on or "", inputs.data.pairs
    )
    rows = read(inputs.world)
    assert rows is not None
    split = training_data.split(rows.table, tokenizer[0], config, config.workers, field)
    lengths = [length(row) for row in split.train]
    mean = sum(sum(sides) / len(sides) for sides in lengths) / len(lengths)
    padded = mean if config.batching == "length-grouped" else _padded([max(sides) for sides in lengths], config)
    twice = 2 if config.method == "kto" else 1
    how = f"the data, {tokenizer[1]}" + ("; in groups of like length" if config.batching == "length-grouped" else "")
    return TrainingRows(
        len(split.train) * twice,
        len(split.validation) * twice,
        sequences,
        mean,
        padded * (1.05 if config.batching == "length-grouped" else 1.0),
        max(max(sides) for sides in lengths),
        how,
    )


def length(row: dict[str, Any]) -> list[int]:
    """Return the number of tokens of each sequence of a tokenised row."""
    if "input_ids" in row:
        return [len(row["input_ids"])]
    return [len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids")]


def _padded(lengths: Sequence[int], config: TrainConfig) -> float:
    """Return the mean length of the longest sequence of a batch, over random batches."""
    draw = random.Random(0)
    batches = [draw.choices(lengths, k=config.batch_size) for _ in range(SAMPLED_STEPS)]
    return sum(map(max, batches)) / len(batches)


def _assumed(
    config: TrainConfig, source: PairsConfig | CorpusConfig, sequences: int, assumed: Assumptions
) -> TrainingRows:
    """Estimate the rows of data that is not on this machine."""
    if source.source == TOY17:
        count, mean, what = DEFAULT.pairs, float(TOY17_TOKENS), "toy17's size"
    else:
        published = data.published_rows(source, source.language)
        if published is None:
            raise InputError(f"data: the rows of source {source.source} cannot be counted: its path does not exist")
        count, what = published, f"published size of {source.source}"
        mean = assumed.fill * config.max_length
    count = int(min(count, source.limit or count) * config.data_fraction)
    held_out = -(-count * config.validation_fraction // 1)
    validation = int(min(held_out, config.validation_limit or held_out))
    train = min(int(count - held_out), config.train_limit or count)
    twice = 2 if config.method == "kto" else 1
    padded = mean * 1.05 if config.batching == "length-grouped" else min(config.max_length, 1.5 * mean)
    how = f"{what}, all rows kept, rows of {mean:g} tokens, padding {1 - mean / padded:.0%}: assumed"
    return TrainingRows(train * twice, validation * twice, sequences, mean, padded, None, how)


def prompt_rows(inputs: Inputs, tokenizer: tuple[Any, str]) -> PromptRows:
    """Count the prompts of all languages together."""
    source, languages = inputs.experiment.data.prompts, inputs.experiment.languages
    if source is None:
        return PromptRows(0, 0.0, "no prompts")
    limit = source.per_language
    if not inputs.here(source) and source.source == TOY17:
        per_language = min(limit or DEFAULT.prompts, DEFAULT.prompts)
        return PromptRows(per_language * len(languages), float(TOY17_TOKENS) / 2, "toy17's size")
    if not inputs.here(source):
        published = [data.published_rows(source, language) for language in languages]
        if not any(published):
            raise InputError(f"data.prompts.path: {source.path} does not exist, so its rows cannot be counted")
        count = sum(min(rows or 1000, limit or 10**9) for rows in published)
        return PromptRows(count, 12.0, f"published size of {source.source}; 12 tokens a prompt: assumed")
    prompts = inputs.data.prompts(inputs.world)
    texts = [text for rows in prompts.values() for text in rows.table["text"].to_pylist()]
    tokens = sum(map(len, Encoder(tokenizer[0]).ids(texts)))
    return PromptRows(len(texts), tokens / len(texts), f"the data, {tokenizer[1]}")


def text_count(inputs: Inputs) -> tuple[int, int, int, str]:
    """Return the number of held-out texts, of labelled texts and of openings, and how they were counted."""
    experiment, how = inputs.experiment, "the data"
    ability = experiment.ability
    kinds: list[tuple[SourceConfig | None, Callable[[Path | None], dict[str, data.Rows]], int]] = [
        (experiment.data.texts, inputs.data.texts, DEFAULT.texts),
        (experiment.validity, inputs.data.labelled, DEFAULT.labelled),
        (None if ability is None else ability.prompts, inputs.data.openings, DEFAULT.texts),
    ]
    counts = []
    for source, read, toy17_size in kinds:
        if source is None:
            counts.append(0)
        elif inputs.here(source):
            counts.append(sum(rows.table.num_rows for rows in read(inputs.world).values()))
        elif source.source == TOY17:
            counts.append(toy17_size * len(experiment.languages))
            how = "toy17's size"
        else:
            counts.append(sum(data.published_rows(source, language) or 0 for language in experiment.languages))
            how = "published sizes"
    return counts[0], counts[1], counts[2], how
