"""The fluency job: how probable an evaluator finds each completion given its prompt. A unit is one evaluator's view of
one unit of generations.

What is stored are sums over tokens of the prompt and of the whole (prompt and completion), from which every
convention's perplexity can be computed: exp((whole − prompt) / (their tokens' difference)), with the papers' factors
where wanted. The prompt is evaluated once for all its samples, and each distinct completion once.

A completion of white space only, or that leaves the prompt's ids as they are, is "empty"; where the white space does
change the ids, its sums stand beside that status, because Neplenbroek et al. 2025 count it. One that does not fit into
the evaluator's context beside its prompt is "failed": a cut one would have another perplexity. So is one whose sum is
not a number.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import FluencyConfig, ScoreConfig
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.score import evaluators
from detox_ray.score.batches import by_length
from detox_ray.storage import Store, Unit, key_of
from detox_ray.storage.tables import EMPTY, FAILED, FLUENCIES, OK

VERSION = 3  # raise it whenever the code here, in evaluators.py or in models/codec.py changes what a unit holds
LOGITS = 2**27  # numbers of a batch's logits at most: half a GiB in float32


def resolve_evaluator(config: FluencyConfig, models: Mapping[str, LoadableModel]) -> LoadableModel:
    """The evaluator as a model that has the evaluator's name. ``models``: the experiment's. Raises InputError."""
    if config.model is None:
        assert config.path is not None, "an evaluator has either"
        return resolve_path(config.name, config.path, config.revision, config.dtype)
    model = models[config.model]
    return model._replace(name=config.name, dtype=model.dtype if config.dtype == "auto" else config.dtype)


def plan_fluencies(
    evaluator: LoadableModel, generations: Mapping[Unit, str], prompts: Mapping[str, str]
) -> dict[Unit, str]:
    """Unit -> key, one for each unit of generations. ``prompts``: language -> key of its prompts unit."""
    return {
        Unit("fluencies", (evaluator.name, *unit.partition), unit.shard): key_of(
            generations=key,
            prompts=prompts[unit.partition[1]],
            evaluator=evaluator.key,
            dtype=evaluator.dtype,
            version=VERSION,
        )
        for unit, key in generations.items()
    }


def fluency_job(
    evaluator: LoadableModel,
    pending: Mapping[Unit, str],
    generations: Mapping[Unit, str],
    prompts: Mapping[str, str],
    config: ScoreConfig,
    store: Store,
) -> Job:
    """The job that makes ``pending``; the other mappings as for the plan."""
    tasks = []
    for unit, key in pending.items():
        source, asked = Unit("generations", unit.partition[1:], unit.shard), Unit("prompts", (unit.partition[2],))
        tasks.append(Task(unit, key, ((source, generations[source]), (asked, prompts[unit.partition[2]]))))
    settings = {"model": evaluator, "batch_tokens": config.batch_tokens, "store": store}
    return Job(f"fluency {evaluator.name}", tasks, FluencyWorker, settings, "texts")


class Fluency(NamedTuple):
    """A row of the table but for its first two columns."""

    prompt_tokens: int
    prompt_nll: float | None
    full_tokens: int
    full_nll: float | None
    status: str


class FluencyWorker:
    """Holds one evaluator; evaluates a unit of completions per call."""

    def __init__(self, model: LoadableModel, batch_tokens: int, store: Store):
        self._name, self._store = model.name, store
        self._evaluator = evaluators.load(model, store)
        self._budget = min(batch_tokens, max(1, LOGITS // self._evaluator.vocabulary))

    def make(self, task: Task) -> Product:
        (generations, its_key), (prompts, their_key) = task.inputs
        completions, asked = self._store.read(generations, its_key), self._store.read(prompts, their_key)
        prompt_of = dict(zip(asked["prompt_id"].to_pylist(), asked["text"].to_pylist(), strict=True))
        ids: list[str] = completions["prompt_id"].to_pylist()
        pairs = list(zip((prompt_of[each] for each in ids), completions["text"].to_pylist(), strict=True))
        found = self.evaluate(pairs)
        columns = [[row[at] for row in found] for at in range(len(Fluency._fields))]
        rest = [pa.array(column, FLUENCIES.field(at).type) for at, column in enumerate(columns, 2)]
        info: dict[str, Any] = {
            "evaluator": self._name,
            "kind": self._evaluator.kind,
            "device": self._evaluator.device,
            "texts": len(found),
            "status_counts": dict(Counter(row.status for row in found)),
        }
        rows = pa.table([completions["prompt_id"], completions["sample"], *rest], schema=FLUENCIES)
        return Product(rows, info, len(found))

    def evaluate(self, pairs: Sequence[tuple[str, str]]) -> list[Fluency]:
        """Of each (prompt, completion)."""
        prompts = list(dict.fromkeys(prompt for prompt, _ in pairs))
        prompt_ids = dict(zip(prompts, self._evaluator.prompts(prompts), strict=True))
        distinct = [pair for pair in dict.fromkeys(pairs) if pair[1]]
        before, after = [prompt for prompt, _ in distinct], [completion for _, completion in distinct]
        wholes = self._evaluator.wholes(before, [prompt_ids[prompt] for prompt in before], after)
        whole_ids = dict(zip(distinct, wholes, strict=True))
        nll_of = self._sums([*prompt_ids.values(), *wholes])
        return [
            self._row(prompt_ids[pair[0]], whole_ids.get(pair, []), nll_of, blank=not pair[1].strip()) for pair in pairs
        ]

    def _row(
        self, prompt: list[int], whole: list[int], nll_of: Mapping[tuple[int, ...], float], *, blank: bool
    ) -> Fluency:
        prompt_nll, full_nll = nll_of.get(tuple(prompt)), nll_of.get(tuple(whole))
        if not whole or whole == prompt:
            return Fluency(len(prompt), None, len(prompt), None, EMPTY)
        if prompt_nll is None or full_nll is None:
            return Fluency(len(prompt), None, len(whole), None, EMPTY if blank else FAILED)
        return Fluency(len(prompt), prompt_nll, len(whole), full_nll, EMPTY if blank else OK)

    def _sums(self, rows: Sequence[list[int]]) -> dict[tuple[int, ...], float]:
        """Of each distinct row that is not too long and has a number for a sum."""
        distinct = [row for row in dict.fromkeys(map(tuple, rows)) if len(row) <= self._evaluator.context]
        found: dict[tuple[int, ...], float] = {}
        for batch in by_length([len(row) for row in distinct], self._budget):
            chosen = [distinct[row] for row in batch]
            found |= zip(chosen, self._evaluator.nll(chosen), strict=True)
        return {row: nll for row, nll in found.items() if math.isfinite(nll)}
