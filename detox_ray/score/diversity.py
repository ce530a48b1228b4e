"""The diversity stage: how many distinct n-grams the completions of a prompt have, and how many are not in the prompt.

An n-gram consists of words (word_segmentation.py) or of a tokenizer's pieces. Pieces are the ids of a text, decoded one
by one without special tokens and with empty strings dropped, as Li et al. 2024 do with mT5-XL's. As in their code,
n-grams do not cross completions and are compared after joining them with "_", which words hardly ever contain. An empty
completion has no words, and one of white space or punctuation may have none.

The stage stores counts for each completion. The measure decides what dist-n is divided by and which completions count.
A completion's distinct n-grams are those that no earlier completion has, so that their sum over the completions is the
number of distinct n-grams in all of them.

`novel` counts the distinct words that the prompt does not have. Divided by the number of the completion's words, it is
the novelty of Neplenbroek et al. 2025.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import InputError
from detox_ray.models import LoadableModel, is_folder, resolve_path
from detox_ray.score import word_segmentation
from detox_ray.score.prompt_texts import PromptTexts
from detox_ray.storage import Store, Unit, key_of
from detox_ray.storage.completion_tables import GENERATION_TABLES, TOXICITY, CompletionTables
from detox_ray.storage.tables import DIVERSITIES, EMPTY, GENERATIONS, OK, PROMPTS

WORDS = "words"


def resolve_tokenizer(path: str) -> LoadableModel:
    """Resolve a tokenizer by its folder or hub id.

    Raises InputError if the hub does not answer and the tokenizer is not cached.
    """
    if is_folder(path):
        return resolve_path(path, path, None, "auto")
    commit = _hub_commit(path)
    return LoadableModel(path, path, False, commit, "auto", key_of(tokenizer=path, commit=commit))


def _hub_commit(repository: str) -> str:
    """Return the commit of a hub id, as models/resolve.py does, but without requiring weights."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        commit = HfApi().model_info(repository).sha
    except Exception as error:  # the hub is unreachable or refuses; the path of a cached file contains its commit
        cached = try_to_load_from_cache(repository, "tokenizer_config.json")
        if isinstance(cached, str):
            return Path(cached).parent.name
        rule = f"must be words, a model's name, a folder, or a hub id that is cached or can be reached ({error})"
        raise InputError(f"quality.diversity: {rule} (got {repository!r})") from None
    assert commit is not None
    return commit


class DiversityStage(Stage):
    """The stage that counts the n-grams of each prompt's completions."""

    name, command, title = "diversities", "score", "diversity"
    version = 2  # raise it, too, when word_segmentation.py changes what a unit holds
    summary = "the distinct n-grams of each prompt's completions"
    measure = "texts"
    needs = (GENERATIONS, PROMPTS)
    writes = (DIVERSITIES,)
    tables: ClassVar[CompletionTables] = TOXICITY

    def resolve(self, context: Context) -> LoadableModel | None:
        """Return the source of the tokenizer; None if the units are words, or if a model of the experiment has it."""
        named = context.experiment.quality.diversity
        return None if named in (None, WORDS, *context.experiment.models) else resolve_tokenizer(str(named))

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        named, planned = context.experiment.quality.diversity, dict[Unit, Planned]()
        if named is None:
            return planned
        for source in context.units(self.tables.generations):
            language = source["language"]
            inputs = source, self.tables.prompts.unit(language=language)
            unit = self.tables.diversities.unit(**dict(source.keys), shard=source.shard)
            if named in context.experiment.models:
                planned[unit] = context.of_model(named, *inputs)
            else:
                tokenizer = context.resolved[self.name]
                planned[unit] = Planned(
                    inputs, {"units": tokenizer.key if tokenizer else word_segmentation.versions(language)}
                )
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        named, config = context.experiment.quality.diversity, context.experiment.score
        units = context.model(named) if named in context.experiment.models else context.resolved[self.name]
        settings = {"units": units, "store": context.store}
        return [Job(DiversityStage.title, tasks, DiversityWorker, settings, self.measure, config.actors, gpus=0)]

    def costs(self, work: Workload) -> list[Cost]:
        return [work.per_completion(self.command, "language and diversity")] if work.completions else []


class NgramCounts(NamedTuple):
    """A row of the table without its first two columns."""

    unigrams: int
    bigrams: int
    trigrams: int
    distinct_1: int
    distinct_2: int
    distinct_3: int
    novel: int
    status: str


def diversity(prompt: Sequence[str], completions: Sequence[Sequence[str]]) -> list[NgramCounts]:
    """Return the n-gram counts of each completion of a prompt. Both are given as words or pieces."""
    seen: list[set[str]] = [set(), set(), set()]
    rows = []
    for units in completions:
        ngrams = [["_".join(units[at : at + n]) for at in range(len(units) - n + 1)] for n in (1, 2, 3)]
        added = [set(of_length) - known for of_length, known in zip(ngrams, seen, strict=True)]
        for known, new in zip(seen, added, strict=True):
            known |= new
        rows.append(
            NgramCounts(
                unigrams=len(ngrams[0]),
                bigrams=len(ngrams[1]),
                trigrams=len(ngrams[2]),
                distinct_1=len(added[0]),
                distinct_2=len(added[1]),
                distinct_3=len(added[2]),
                novel=len(set(units).difference(prompt)),
                status=OK if units else EMPTY,
            )
        )
    return rows


class DiversityWorker:
    """A worker with a tokenizer, or with none for words. Each call counts the n-grams of one unit of completions."""

    def __init__(self, units: LoadableModel | None, store: Store):
        self._name, self._store, self._prompts = units.name if units else WORDS, store, PromptTexts(store)
        self._decoded = None if units is None else _decoder(units, store)

    def make(self, task: Task) -> Product:
        completions = task.read(self._store, *GENERATION_TABLES)
        language = task.unit["language"]
        prompt_of = self._prompts.of(task)
        samples_of: dict[str, list[tuple[int, str]]] = {}
        for row in completions.select(["prompt_id", "sample", "text"]).to_pylist():
            samples_of.setdefault(row["prompt_id"], []).append((row["sample"], row["text"]))
        rows: list[tuple[str, int, NgramCounts]] = []
        for prompt_id, samples in samples_of.items():
            samples.sort()
            texts = [self.units(text, language) for _, text in samples]
            counted = diversity(self.units(prompt_of[prompt_id], language), texts)
            rows += [(prompt_id, sample, counts) for (sample, _), counts in zip(samples, counted, strict=True)]
        columns = [
            [prompt_id for prompt_id, _, _ in rows],
            [sample for _, sample, _ in rows],
            *([counts[at] for _, _, counts in rows] for at in range(len(NgramCounts._fields))),
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, DIVERSITIES.columns, strict=True)]
        info: dict[str, Any] = {
            "units": self._name,
            "status_counts": dict(Counter(counts.status for _, _, counts in rows)),
        }
        return Product(pa.table(arrays, schema=DIVERSITIES.columns), info, completions.num_rows)

    def units(self, text: str, language: str) -> list[str]:
        """Return a text's words or pieces, in order."""
        return word_segmentation.words(text, language) if self._decoded is None else self._decoded(text)


def _decoder(model: LoadableModel, store: Store) -> Callable[[str], list[str]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.local_path(store), **model.loading())
    known: dict[int, str] = {}  # id -> its string; decoding is slow

    def decoded(text: str) -> list[str]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for token in set(ids).difference(known):
            known[token] = str(tokenizer.decode([token], skip_special_tokens=True))
        return [known[token] for token in ids if known[token]]

    return decoded
