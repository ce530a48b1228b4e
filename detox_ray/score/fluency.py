"""The fluency stage: the likelihood of each completion, given its prompt, under an evaluator.

The stage stores the summed losses of the prompt and of the whole (prompt and completion). Every convention's perplexity
follows from them: exp((whole - prompt) / (difference of their numbers of tokens)), with the papers' factors if a
convention has them. A prompt is evaluated once for all its samples, and each distinct completion once.

A completion is "empty" if it is white space only or leaves the prompt's ids unchanged. If its white space does change
the ids, its row also has the sums, because Neplenbroek et al. 2025 count it. A completion is "failed" if it does not
fit into the evaluator's context after its prompt, because a truncated one has another perplexity, or if its sum is not
a finite number.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa

from detox_ray.cluster.costs import Cost, Workload, unknown
from detox_ray.cluster.stage import Context, Planned, Stage
from detox_ray.cluster.unit_jobs import Job, Product, Task
from detox_ray.config import Experiment, FluencyConfig
from detox_ray.models import LoadableModel, resolve_path
from detox_ray.models.device import device
from detox_ray.score import evaluators
from detox_ray.score.batches import by_length, token_budget
from detox_ray.score.prompt_texts import PromptTexts
from detox_ray.storage import Store, Unit
from detox_ray.storage.completion_tables import GENERATION_TABLES, TOXICITY, CompletionTables
from detox_ray.storage.tables import CHECKPOINTS, EMPTY, FAILED, FLUENCIES, GENERATIONS, OK, PROMPTS


class FluencyStage(Stage):
    """The stage that computes the likelihood of each model's completions under each evaluator."""

    name, command, title = "fluencies", "score", "fluency"
    version = 4  # raise it, too, when evaluators.py or models/codec.py changes what a unit holds
    summary = "the perplexity of every completion under every evaluator"
    measure = "texts"
    needs = (GENERATIONS, PROMPTS, CHECKPOINTS)
    writes = (FLUENCIES,)
    tables: ClassVar[CompletionTables] = TOXICITY

    def chosen(self, experiment: Experiment) -> list[FluencyConfig]:
        """Return the evaluators of these completions."""
        return experiment.quality.fluency

    def resolve(self, context: Context) -> dict[str, LoadableModel]:
        """Return the evaluators that are given by a path, by name."""
        evaluators = context.experiment.quality.fluency
        return {each.name: _given(each) for each in evaluators if each.model is None}

    def units(self, context: Context) -> Mapping[Unit, Planned]:
        planned: dict[Unit, Planned] = {}
        for config in self.chosen(context.experiment):
            evaluator = evaluator_of(context, config)
            for source in context.units(self.tables.generations):
                inputs = source, self.tables.prompts.unit(language=source["language"])
                unit = self.tables.fluencies.unit(evaluator=config.name, **dict(source.keys), shard=source.shard)
                if config.model is not None:
                    planned[unit] = context.of_model(config.model, *inputs, dtype=evaluator.dtype)
                else:
                    planned[unit] = Planned(inputs, {"model": evaluator.key, "dtype": evaluator.dtype})
        return planned

    def jobs(self, context: Context, tasks: Sequence[Task]) -> Sequence[Job]:
        config, jobs = context.experiment.score, []
        for each in self.chosen(context.experiment):
            settings = {
                "model": evaluator_of(context, each),
                "batch_tokens": config.batch_tokens,
                "store": context.store,
            }
            mine = [task for task in tasks if task.unit["evaluator"] == each.name]
            jobs.append(Job(f"fluency {each.name}", mine, FluencyWorker, settings, self.measure, config.actors))
        return jobs

    def costs(self, work: Workload) -> list[Cost]:
        costs = []
        for evaluator in work.experiment.quality.fluency:
            what, passes = f"fluency by {evaluator.name}", 1
            if evaluator.model is not None:
                each = work.forward(evaluator.model, work.sequence)
            elif (parameters := work.parameters(evaluator.path or "")) is not None:
                each, passes = 2.0 * parameters, 2
            else:
                costs.append(unknown(self.command, what))
                continue
            how = f"{work.completions:,} completions with their prompts" + (
                ", and prompts alone" if passes == 2 else ""
            )
            tokens = work.completions * work.sequence * passes
            costs.append(work.computed(self.command, what, tokens, tokens * each, how))
        return costs


def evaluator_of(context: Context, config: FluencyConfig) -> LoadableModel:
    """Return the evaluator's model, under the evaluator's name."""
    if config.model is None:
        given: LoadableModel = context.resolved[FluencyStage.name][config.name]
        return given
    model = context.model(config.model)
    return model._replace(name=config.name, dtype=model.dtype if config.dtype == "auto" else config.dtype)


def _given(config: FluencyConfig) -> LoadableModel:
    assert config.path is not None, "an evaluator has either a model or a path"
    return resolve_path(config.name, config.path, config.revision, config.dtype)


class CompletionLikelihood(NamedTuple):
    """A row of the table without its first two columns."""

    prompt_tokens: int
    prompt_nll: float | None
    full_tokens: int
    full_nll: float | None
    status: str


class FluencyWorker:
    """A worker with one evaluator. Each call evaluates one unit of completions."""

    def __init__(self, model: LoadableModel, batch_tokens: int, store: Store):
        self._name, self._store, self._prompts = model.name, store, PromptTexts(store)
        self._evaluator = evaluators.load(model, store)
        self._budget = token_budget(batch_tokens, device().kind, self._evaluator.vocabulary)

    def make(self, task: Task) -> Product:
        completions = task.read(self._store, *GENERATION_TABLES)
        prompt_of = self._prompts.of(task)
        ids: list[str] = completions["prompt_id"].to_pylist()
        pairs = list(zip((prompt_of[prompt_id] for prompt_id in ids), completions["text"].to_pylist(), strict=True))
        evaluated = self.evaluate(pairs)
        columns = [[row[at] for row in evaluated] for at in range(len(CompletionLikelihood._fields))]
        rest = [pa.array(column, FLUENCIES.columns.field(at).type) for at, column in enumerate(columns, 2)]
        info: dict[str, Any] = {
            "evaluator": self._name,
            "kind": self._evaluator.kind,
            "device": self._evaluator.device,
            "texts": len(evaluated),
            "status_counts": dict(Counter(row.status for row in evaluated)),
        }
        rows = pa.table([completions["prompt_id"], completions["sample"], *rest], schema=FLUENCIES.columns)
        return Product(rows, info, len(evaluated))

    def evaluate(self, pairs: Sequence[tuple[str, str]]) -> list[CompletionLikelihood]:
        """Evaluate pairs of prompt and completion."""
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
    ) -> CompletionLikelihood:
        prompt_nll, full_nll = nll_of.get(tuple(prompt)), nll_of.get(tuple(whole))
        if not whole or whole == prompt:
            return CompletionLikelihood(len(prompt), None, len(prompt), None, EMPTY)
        if prompt_nll is None or full_nll is None:
            return CompletionLikelihood(len(prompt), None, len(whole), None, EMPTY if blank else FAILED)
        return CompletionLikelihood(len(prompt), prompt_nll, len(whole), full_nll, EMPTY if blank else OK)

    def _sums(self, rows: Sequence[list[int]]) -> dict[tuple[int, ...], float]:
        """Return the sum of each distinct row that is not too long, except sums that are not finite."""
        distinct = [row for row in dict.fromkeys(map(tuple, rows)) if len(row) <= self._evaluator.context]
        sums: dict[tuple[int, ...], float] = {}
        for batch in by_length([len(row) for row in distinct], self._budget):
            chosen = [distinct[row] for row in batch]
            sums |= zip(chosen, self._evaluator.nll(chosen), strict=True)
        return {row: nll for row, nll in sums.items() if math.isfinite(nll)}
