"""How many rows there are and how long: counted in the data where it is there, published or assumed where it is not.

With a tokenizer at hand rows are cut, filtered and split just as training does; without one a token is taken to be so
many bytes of text.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_ray import data
from detox_ray.config import TOY17, CorpusConfig, Experiment, InputError, PairsConfig, TrainConfig
from detox_ray.estimate.assumptions import Assumptions
from detox_ray.models.codec import Encoder
from detox_ray.toy17 import DEFAULT
from detox_ray.train import data_split as training_data

SAMPLED_STEPS = 64  # of which padding is measured
TOY17_TOKENS = 14  # of a sentence in the built-in world, about


class TrainingRows(NamedTuple):
    """What one training learns from. Lengths are tokens of prompt and completion."""

    train: int
    validation: int
    sequences: int  # per row: a pair has two
    mean: float  # tokens of a sequence
    padded: float  # of a sequence with its padding, mean over steps
    longest: int | None  # None: unknown
    assumption: str

    @property
    def padding_share(self) -> float:
        return 1 - self.mean / self.padded


class PromptRows(NamedTuple):
    rows: int
    tokens: float  # of a prompt, mean
    assumption: str


class Guess:
    """Stands for a tokenizer: a token is so many bytes."""

    eos_token_id, bos_token_id = -1, None

    def __init__(self, bytes_per_token: float):
        self._each = bytes_per_token

    def __call__(self, texts: str | Sequence[str], **_: Any) -> dict[str, list[Any]]:
        if isinstance(texts, str):
            return {"input_ids": self._ids(texts)}
        return {"input_ids": [self._ids(text) for text in texts]}

    def _ids(self, text: str) -> list[int]:
        raw = text.encode()
        # A prompt's tokens begin those of prompt and completion, as a tokenizer's do.
        return [hash(raw[: round((place + 1) * self._each)]) for place in range(math.ceil(len(raw) / self._each))]


def tokenizer_at(folder: str | None, assumed: Assumptions) -> tuple[Any, str]:
    """The tokenizer in a model's folder, or a guess; and what to say of it."""
    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if folder is not None and any(Path(folder, name).is_file() for name in names):
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True), "counted"
        except (OSError, ValueError):
            pass  # not whole: what is said below
    return Guess(assumed.bytes_per_token), f"at {assumed.bytes_per_token:g} bytes a token"


def training_rows(
    experiment: Experiment, config: TrainConfig, field: str, tokenizer: tuple[Any, str], world: Path | None,
    assumed: Assumptions,
) -> TrainingRows:  # fmt: skip
    """Raises InputError where the data is there and cannot be trained on."""
    corpus = config.train_on == "corpus"
    sequences = 2 if config.method in ("dpo", "orpo", "cpo") else 1
    source = experiment.data.corpus if corpus else experiment.data.pairs
    assert source is not None  # the experiment requires it
    if (source.source == TOY17 and world is None) or (source.path and not Path(source.path).expanduser().exists()):
        return _assumed(config, source, sequences, assumed)
    on_error = experiment.data.on_error
    if corpus:
        assert experiment.data.corpus is not None
        rows = data.read_corpus(experiment.data.corpus, on_error, world)
    else:
        assert experiment.data.pairs is not None
        rows = data.read_pairs(experiment.data.pairs, on_error, world)
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
    """Tokens of a tokenised row's sequences."""
    if "input_ids" in row:
        return [len(row["input_ids"])]
    return [len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids")]


def _padded(lengths: Sequence[int], config: TrainConfig) -> float:
    """Mean over random batches of the longest sequence in each."""
    draw = random.Random(0)
    batches = [draw.choices(lengths, k=config.batch_size) for _ in range(SAMPLED_STEPS)]
    return sum(map(max, batches)) / len(batches)


def _assumed(
    config: TrainConfig, source: PairsConfig | CorpusConfig, sequences: int, assumed: Assumptions
) -> TrainingRows:
    if source.source == TOY17:
        count, mean, what = DEFAULT.pairs, float(TOY17_TOKENS), "toy17's size"
    else:
        published = data.published_rows(source, source.language)
        if published is None:
            raise InputError(f"data: the rows of source {source.source} cannot be counted: its path does not exist")
        count, what = published, f"published size of {source.source}"
        mean = assumed.fill * config.max_length
    count = int(min(count, source.limit or count) * config.data_fraction)
    held = -(-count * config.validation_fraction // 1)
    validation = int(min(held, config.validation_limit or held))
    train = min(int(count - held), config.train_limit or count)
    twice = 2 if config.method == "kto" else 1
    padded = mean * 1.05 if config.batching == "length-grouped" else min(config.max_length, 1.5 * mean)
    how = f"{what}, all rows kept, rows of {mean:g} tokens, padding {1 - mean / padded:.0%}: assumed"
    return TrainingRows(train * twice, validation * twice, sequences, mean, padded, None, how)


def prompt_rows(
    experiment: Experiment, tokenizer: tuple[Any, str], world: Path | None, assumed: Assumptions
) -> PromptRows:
    """Of all languages together."""
    source, languages = experiment.data.prompts, experiment.languages
    limit = source.per_language
    if source.source == TOY17 and world is None:
        each = min(limit or DEFAULT.prompts, DEFAULT.prompts)
        return PromptRows(each * len(languages), float(TOY17_TOKENS) / 2, "toy17's size")
    if source.path and not Path(source.path).expanduser().exists():
        published = [data.published_rows(source, language) for language in languages]
        if not any(published):
            raise InputError(f"data.prompts.path: {source.path} does not exist, so its rows cannot be counted")
        count = sum(min(rows or 1000, limit or 10**9) for rows in published)
        return PromptRows(count, 12.0, f"published size of {source.source}; 12 tokens a prompt: assumed")
    read = data.read_prompts(source, languages, experiment.data.on_error, world)
    texts = [text for rows in read.values() for text in rows.table["text"].to_pylist()]
    tokens = sum(map(len, Encoder(tokenizer[0]).ids(texts)))
    return PromptRows(len(texts), tokens / len(texts), f"the data, {tokenizer[1]}")


def text_count(experiment: Experiment, world: Path | None) -> tuple[int, int, str]:
    """(held-out texts, labelled texts) of all languages, and how they were counted."""
    found, how = [0, 0], "the data"
    for place, source in enumerate((experiment.data.texts, experiment.validity)):
        if source is None:
            continue
        languages = experiment.languages
        if source.source == TOY17 and world is None:
            found[place] = (DEFAULT.texts, DEFAULT.labelled)[place] * len(languages)
            how = "toy17's size"
        elif source.path and not Path(source.path).expanduser().exists():
            found[place] = sum(data.published_rows(source, language) or 0 for language in languages)
            how = "published sizes"
        elif place == 0 and experiment.data.texts is not None:
            texts = data.read_texts(experiment.data.texts, languages, experiment.data.on_error, world)
            found[0] = sum(rows.table.num_rows for rows in texts.values())
        elif experiment.validity is not None:
            judged = data.read_labelled(experiment.validity, languages, experiment.data.on_error, world)
            found[1] = sum(rows.table.num_rows for rows in judged.values())
    return found[0], found[1], how
