"""The diversity job: how many different n-grams the completions of one prompt hold, and how much of them the prompt
does not (papers.md A1.6, C5). A unit of work is a unit of generations.

An n-gram's units are words (words.py says what they are), or a tokenizer's: the ids of a text decoded one by one
without special tokens, empty strings dropped, as Li et al. 2024 do with mT5-XL's. As there, n-grams do not cross
completions and are compared joined with "_", which a word hardly ever holds. An empty completion has no unit; one of
whitespace, or words of punctuation alone, may have none. What dist-n is divided by is for the measure to say: all
counts are stored.

`novelty` adds up, over completions, the distinct units that the prompt does not have over all units of the completion
(Neplenbroek et al. 2025); a completion without units adds 0.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray.config import InputError
from detox_ray.models import LoadableModel, is_folder, resolve_path
from detox_ray.score import words
from detox_ray.store import Store, Unit, key_of
from detox_ray.tables import DIVERSITIES, EMPTY, OK
from detox_ray.unitjob import Job, Product, Task

VERSION = 2  # raise it whenever the code here or in words.py changes what a unit holds
WORDS = "words"


def resolve_units(diversity: str, models: Mapping[str, LoadableModel]) -> LoadableModel | None:
    """None for words, else what has the tokenizer: one of the experiment's ``models``, a folder or a hub id.

    Raises InputError where the hub does not answer and the tokenizer is not cached.
    """
    if diversity == WORDS:
        return None
    if diversity in models:
        return models[diversity]
    if is_folder(diversity):
        return resolve_path(diversity, diversity, None, "auto")
    commit = _hub_commit(diversity)
    return LoadableModel(diversity, diversity, False, commit, "auto", key_of(tokenizer=diversity, commit=commit))


def _hub_commit(repository: str) -> str:
    """As models.py resolves a hub id, but with no weights asked for."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        commit = HfApi().model_info(repository).sha
    except Exception as error:  # the hub is unreachable or refuses: a cached snapshot names its commit
        cached = try_to_load_from_cache(repository, "tokenizer_config.json")
        if isinstance(cached, str):
            return cached.replace("\\", "/").split("/")[-2]
        rule = f"must be words, a model's name, a folder, or a hub id that can be asked for ({error})"
        raise InputError(f"quality.diversity: {rule} (got {repository!r})") from None
    assert commit is not None
    return commit


def plan_diversities(
    units: LoadableModel | None, generations: Mapping[Unit, str], prompts: Mapping[str, str]
) -> dict[Unit, str]:
    """Unit -> key, one for each unit of generations. ``prompts``: language -> key of its prompts unit."""
    return {
        Unit("diversities", unit.partition, unit.shard): key_of(
            generations=key,
            prompts=prompts[unit.partition[1]],
            units=words.versions(unit.partition[1]) if units is None else units.key,
            version=VERSION,
        )
        for unit, key in generations.items()
    }


def diversity_job(
    units: LoadableModel | None,
    pending: Mapping[Unit, str],
    generations: Mapping[Unit, str],
    prompts: Mapping[str, str],
    store: Store,
) -> Job:
    """The job that makes ``pending``; the other mappings as for the plan."""
    tasks = []
    for unit, key in pending.items():
        source, asked = Unit("generations", unit.partition, unit.shard), Unit("prompts", (unit.partition[1],))
        tasks.append(Task(unit, key, ((source, generations[source]), (asked, prompts[unit.partition[1]]))))
    return Job("diversity", tasks, DiversityWorker, {"units": units, "store": store}, "texts", gpus=0)


class Diversity(NamedTuple):
    """A row of the table but for its first column."""

    completions: int
    unigrams: int
    bigrams: int
    trigrams: int
    distinct_1: int
    distinct_2: int
    distinct_3: int
    novelty: float
    status: str


def diversity(prompt: Sequence[str], completions: Sequence[Sequence[str]]) -> Diversity:
    """Of one prompt's units and those of each of its completions."""
    held = [units for units in completions if units]
    ngrams = [["_".join(units[at : at + n]) for units in held for at in range(len(units) - n + 1)] for n in (1, 2, 3)]
    totals, distinct = [len(of_n) for of_n in ngrams], [len(set(of_n)) for of_n in ngrams]
    novelty = sum((len(set(units).difference(prompt)) / len(units) for units in held), 0.0)
    return Diversity(
        completions=len(held),
        unigrams=totals[0],
        bigrams=totals[1],
        trigrams=totals[2],
        distinct_1=distinct[0],
        distinct_2=distinct[1],
        distinct_3=distinct[2],
        novelty=novelty,
        status=OK if held else EMPTY,
    )


class DiversityWorker:
    """Holds a tokenizer, or none for words; counts a unit of completions per call."""

    def __init__(self, units: LoadableModel | None, store: Store):
        self._name, self._store = units.name if units else WORDS, store
        self._decoded = None if units is None else _decoder(units, store)

    def make(self, task: Task) -> Product:
        (generations, its_key), (prompts, their_key) = task.inputs
        completions, asked = self._store.read(generations, its_key), self._store.read(prompts, their_key)
        language = task.unit.partition[1]
        prompt_of = dict(zip(asked["prompt_id"].to_pylist(), asked["text"].to_pylist(), strict=True))
        texts_of: dict[str, list[str]] = {}
        for prompt_id, text in zip(completions["prompt_id"].to_pylist(), completions["text"].to_pylist(), strict=True):
            texts_of.setdefault(prompt_id, []).append(text)
        found = [
            diversity(self.units(prompt_of[prompt_id], language), [self.units(text, language) for text in texts])
            for prompt_id, texts in texts_of.items()
        ]
        columns = [list(texts_of), *([row[at] for row in found] for at in range(len(Diversity._fields)))]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, DIVERSITIES, strict=True)]
        info: dict[str, Any] = {"units": self._name, "status_counts": dict(Counter(row.status for row in found))}
        return Product(pa.table(arrays, schema=DIVERSITIES), info, completions.num_rows)

    def units(self, text: str, language: str) -> list[str]:
        """A text's units, in order."""
        return words.words(text, language) if self._decoded is None else self._decoded(text)


def _decoder(model: LoadableModel, store: Store) -> Callable[[str], list[str]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.local_path(store), **model.loading())
    known: dict[int, str] = {}  # an id's string, which is slow to come by

    def decoded(text: str) -> list[str]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]  # what it adds is none of the text's units
        for each in set(ids).difference(known):
            known[each] = str(tokenizer.decode([each], skip_special_tokens=True))
        return [known[each] for each in ids if known[each]]

    return decoded
