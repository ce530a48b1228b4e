"""The experiment: the whole YAML, validated.

All problems are reported at once (loading.py), each with its field, its value and the rule that it breaks
(`ConfigError`). Checks that look beyond the YAML, at files, storage and model folders, live in the rooms that own those
things and return the same `Problem`.
"""

from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, Field, JsonValue, model_validator

from detox_ray.config.ability import AbilityConfig
from detox_ray.config.base import TOY17, ConfigError, DType, Languages, Name, Problem, Strict, no_secret
from detox_ray.config.bias import BiasConfig
from detox_ray.config.cluster import ClusterConfig
from detox_ray.config.data import DataConfig, ValidityConfig, sources_of
from detox_ray.config.explain import ExplainConfig
from detox_ray.config.gate import READY, GateConfig
from detox_ray.config.generate import GenerateConfig
from detox_ray.config.knowledge import KnowledgeConfig
from detox_ray.config.languages import GROUPS
from detox_ray.config.measures import MeasureConfig, QualityConfig, ReportConfig
from detox_ray.config.scorers import ScoreConfig
from detox_ray.config.serve import ServeConfig
from detox_ray.config.storage_uri import check_storage, locate
from detox_ray.config.train import TEXTS, TrainConfig
from detox_ray.config.variants import Variant, expand

SUITES = ("bias", "ability", "knowledge")  # blocks that ask the models fixed items


class ModelConfig(Strict):
    """A model: either a path, or a train block that names its parent."""

    path: Annotated[str, AfterValidator(no_secret)] | None = None  # hub id, folder, s3://… or gs://…, or toy17
    parent: Name | None = None  # with a path only: the model that it was tuned from and is compared with
    revision: str | None = None  # with a hub id only: branch, tag or commit
    dtype: DType = "auto"  # for generation and perplexity; auto: as the weights are saved
    train: TrainConfig | None = None
    variant: Variant | None = None  # set by the program if the train block stands for several models (variants.py)

    @property
    def descends_from(self) -> str | None:
        """Return the name of the parent, whether this run trains the model or somebody else tuned it."""
        return self.train.parent if self.train else self.parent

    @model_validator(mode="after")
    def _one_of(self) -> "ModelConfig":
        if (self.path is None) == (self.train is None):
            raise ValueError("must have either a path or a train block, and not both")
        if self.revision is not None and self.path is None:
            raise ConfigError([Problem("revision", self.revision, "needs a path that is a hub id")])
        if self.parent is not None and self.path is None:
            raise ConfigError([Problem("parent", self.parent, "needs a path; a train block names its parent itself")])
        return self


class Comparison(Strict):
    """A pair of models to compare."""

    model: Name
    parent: Name


class Experiment(Strict):
    """The whole YAML, with its seeds and sweeps expanded into models."""

    name: Name
    storage: Annotated[str, AfterValidator(no_secret), AfterValidator(check_storage)] = "runs"  # folder, s3://…, gs://…
    languages: Languages = Field(default_factory=lambda: list(GROUPS["rtp-lx-17"]))
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataConfig = DataConfig()
    models: dict[Name, ModelConfig] = Field(min_length=1)
    compare: list[Comparison] | None = None  # null: each trained model with its parent
    generate: GenerateConfig = GenerateConfig()
    score: ScoreConfig = ScoreConfig()
    validity: ValidityConfig | None = None
    quality: QualityConfig = QualityConfig()
    explain: ExplainConfig | None = None  # null: the stage is skipped
    bias: BiasConfig | None = None  # null: the suite is skipped
    ability: AbilityConfig | None = None  # null: the suite is skipped
    knowledge: KnowledgeConfig | None = None  # null: the suite is skipped
    measure: MeasureConfig = MeasureConfig()
    gate: GateConfig = READY  # rules by which the report judges each tuned model
    report: ReportConfig = ReportConfig()
    serve: ServeConfig = ServeConfig()
    cluster: ClusterConfig = ClusterConfig()  # machines to ask for; no influence on results

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, content: Any) -> Any:
        if not isinstance(content, dict) or "models" not in content:
            return content
        try:
            return {**content, "models": expand(content["models"])}
        except ConfigError as error:
            raise ConfigError([p._replace(field=f"models.{p.field}") for p in error.problems]) from None

    @property
    def folder(self) -> str:
        """Return the run's folder or URI."""
        return locate(self.storage).child(self.name).uri

    @property
    def comparisons(self) -> list[Comparison]:
        """Return the pairs of models to compare: those given, or each model that has a parent with its parent."""
        if self.compare is not None:
            return self.compare
        parents = {name: model.descends_from for name, model in self.models.items()}
        return [Comparison(model=name, parent=parent) for name, parent in parents.items() if parent]

    @property
    def suites(self) -> list[str]:
        """Return the names of the suites that the experiment configures."""
        return [name for name in SUITES if getattr(self, name) is not None]

    @property
    def release_rules(self) -> GateConfig | None:
        """Return the gate's rules; None if they are the default ones and there are no completions to judge by them."""
        return None if self.data.prompts is None and self.gate == READY else self.gate

    @property
    def seed_groups(self) -> dict[str, list[str]]:
        """Return label -> models that differ only in their seed. Each group has at least two."""
        groups: dict[str, list[str]] = {}
        for name, model in self.models.items():
            if model.variant is not None and "seed" in model.variant.values:
                groups.setdefault(model.variant.label, []).append(name)
        return {label: names for label, names in groups.items() if len(names) > 1}

    @property
    def sweeps(self) -> dict[str, dict[str, dict[str, JsonValue]]]:
        """Return family -> label (a model or a seed group) -> the fields that vary, if more than the seed varies."""
        sweeps: dict[str, dict[str, dict[str, JsonValue]]] = {}
        grouped = {name: label for label, names in self.seed_groups.items() for name in names}
        for name, model in self.models.items():
            if model.variant is not None:
                values = {field: value for field, value in model.variant.values.items() if field != "seed"}
                if values:
                    sweeps.setdefault(model.variant.family, {})[grouped.get(name, name)] = values
        return sweeps

    @property
    def uses_toy17(self) -> bool:
        """Return whether data, a model or a scorer comes from the built-in world."""
        openings = None if self.ability is None else self.ability.prompts
        sources = (self.data.prompts, openings, self.data.pairs, self.data.corpus, self.data.texts, self.validity)
        return (
            any(source is not None and source.source == TOY17 for source in sources)
            or any(model.path == TOY17 for model in self.models.values())
            or self.score.uses_toy17
        )

    @property
    def trains_on_originals(self) -> bool:
        """Return whether a model learns from the originals from which the texts of the corpus were rewritten."""
        return any(model.train and model.train.train_on == "originals" for model in self.models.values())

    def descent_order(self) -> list[str]:
        """Return the models that have a parent, trained or imported, parents first."""
        order: list[str] = []
        waiting = {name: m.descends_from for name, m in self.models.items() if m.descends_from}
        while waiting:
            ready = [name for name, parent in waiting.items() if parent not in waiting]
            if not ready:
                raise ValueError(f"a model descends from itself, among {', '.join(waiting)}")
            for name in ready:
                order.append(name)
                del waiting[name]
        return order

    @model_validator(mode="after")
    def _references(self) -> "Experiment":
        known = f"must be one of the models ({', '.join(self.models)})"
        problems = []
        # What is measured.
        if self.data.prompts is not None and not self.score.scorers:
            rule = "is required, to score the completions of data.prompts"
            problems.append(Problem("score.scorers", None, rule))
        if self.data.prompts is None:
            if self.score.scorers or self.explain is not None:
                needing = "score.scorers" if self.score.scorers else "explain"
                problems.append(Problem("data.prompts", None, f"is required by {needing}"))
            elif self.data.texts is None and not self.suites:
                suites = ", ".join(SUITES)
                rule = (
                    f"nothing is measured: add prompts and scorers, held-out texts (data.texts) or a suite ({suites})"
                )
                problems.append(Problem("data.prompts", None, rule))
        # Parents and training data.
        for name, model in self.models.items():
            parent = model.descends_from
            if parent is not None and parent not in self.models:
                field = "train.parent" if model.train else "parent"
                problems.append(Problem(f"models.{name}.{field}", parent, known))
            if model.train is not None:
                needed = "corpus" if model.train.train_on in TEXTS else "pairs"
                if getattr(self.data, needed) is None:
                    problems.append(Problem(f"data.{needed}", None, f"models.{name}.train needs it"))
        if self.trains_on_originals and self.data.corpus and self.data.corpus.source not in sources_of("originals"):
            rule = f"must be one of {', '.join(sources_of('originals'))}: train_on: originals needs texts' originals"
            problems.append(Problem("data.corpus.source", self.data.corpus.source, rule))
        if self.data.world != "plain" and not self.uses_toy17:
            problems.append(Problem("data.world", self.data.world, "needs data, a model or a scorer from toy17"))
        for label in self.seed_groups:
            if label in self.models:
                rule = "is also the name of a mean over seeds: choose another name"
                problems.append(Problem("models", label, rule))
        # Evaluators and scorers.
        for number, evaluator in enumerate(self.quality.fluency):
            if evaluator.model is not None and evaluator.model not in self.models:
                problems.append(Problem(f"quality.fluency.{number}.model", evaluator.model, known))
        reserved: set[str | None] = {evaluator.name for evaluator in self.quality.fluency}
        reserved |= {self.quality.diversity, self.quality.identifier, "held-out-text"}
        for name in (self.ability and self.ability.fluency) or ():
            evaluators = [evaluator.name for evaluator in self.quality.fluency]
            if name not in evaluators:
                rule = f"must be one of quality.fluency ({', '.join(evaluators) or 'none are defined'})"
                problems.append(Problem("ability.fluency", name, rule))
        for name in self.score.names:
            if name in reserved:
                rule = "is also the name of an evaluator, the diversity units or the identifier: choose another name"
                problems.append(Problem("score.scorers", name, rule))
        # What is explained, the service and the comparisons.
        for name in (self.explain and self.explain.models) or ():
            if name not in {comparison.model for comparison in self.comparisons}:
                rule = "must be a model that is compared with its parent"
                problems.append(Problem("explain.models", name, rule))
        if self.explain and self.explain.scorer not in (None, *self.score.names):
            rule = f"must be one of score.scorers ({', '.join(self.score.names)})"
            problems.append(Problem("explain.scorer", self.explain.scorer, rule))
        for name in self.serve.scorers or ():
            if name not in self.score.names:
                rule = f"must be one of score.scorers ({', '.join(self.score.names)})"
                problems.append(Problem("serve.scorers", name, rule))
        for field, names in (("models", self.serve.models or ()), ("engines", self.serve.engines)):
            problems += [Problem(f"serve.{field}", name, known) for name in names if name not in self.models]
        for number, comparison in enumerate(self.compare or ()):
            for field, value in comparison:
                if value not in self.models:
                    problems.append(Problem(f"compare.{number}.{field}", value, known))
        problems += self._beyond_the_cluster()
        try:
            self.descent_order()
        except ValueError as error:
            problems.append(Problem("models", list(self.models), str(error)))
        if problems:
            raise ConfigError(problems)
        return self

    def _beyond_the_cluster(self) -> list[Problem]:
        """Return a problem for each block that needs more GPUs than the cluster block asks for: it can never start."""
        problems, asked = [], self.cluster
        if asked.gpus_per_node is not None and self.generate.tensor_parallel > asked.gpus_per_node:
            rule = (
                f"must not exceed cluster.gpus_per_node ({asked.gpus_per_node}), because GPUs that share a layer are "
                "in one node: to spread layers over nodes, set generate.pipeline_parallel"
            )
            problems.append(Problem("generate.tensor_parallel", self.generate.tensor_parallel, rule))
        if asked.gpus and self.generate.gpus_per_engine > asked.gpus:
            rule = f"times generate.pipeline_parallel must not exceed cluster.gpus ({asked.gpus})"
            problems.append(Problem("generate.tensor_parallel", self.generate.tensor_parallel, rule))
        for name, model in self.models.items():
            if model.train is None or asked.gpus is None:
                continue
            each = (model.train.resources_per_worker or {"GPU": 1 if asked.gpus else 0}).get("GPU", 0)
            workers = model.train.min_workers or model.train.workers
            if workers * each > asked.gpus:
                rule = f"workers need {workers * each:g} GPUs, more than cluster.gpus ({asked.gpus})"
                problems.append(Problem(f"models.{name}.train.workers", workers, rule))
        return problems

    def to_yaml(self) -> str:
        """Return the experiment as YAML, with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
