"""What is served: engines, scorers and example prompts, from a run's folder or from names and paths. No Ray."""

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import Field, model_validator

from detox_ray import models, score
from detox_ray.config import (
    TOY17,
    ConfigError,
    EngineConfig,
    Experiment,
    GenerateConfig,
    InputError,
    MeasureConfig,
    ModelConfig,
    Problem,
    ServeConfig,
    Strict,
)
from detox_ray.config.base import Name
from detox_ray.config.loading import merged, validated
from detox_ray.models import LoadableModel
from detox_ray.serve import sharing
from detox_ray.storage import Store, cache_folder
from detox_ray.storage.tables import CHECKPOINTS, PROMPTS

PROMPTS_PER_LANGUAGE = 3


class ServeArgs(Strict):
    """Arguments of the application, as a Serve config file holds them: a run, or models by name."""

    run: str | None = None  # folder or URI
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    scorers: list[str] = Field(default_factory=list)  # ready ones, where no run names them
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _one_of(self) -> "ServeArgs":
        if (self.run is None) == (not self.models):
            raise ConfigError([Problem("run", self.run, "give either RUN, or models: --model NAME=PATH")])
        if self.run is not None and self.scorers:
            raise ConfigError([Problem("scorers", self.scorers, "a run has its own: choose by serve.scorers")])
        return self


class EngineSpec(NamedTuple):
    """One engine: a model, and the adapters of models tuned from it."""

    model: LoadableModel
    adapters: dict[str, str]  # name of a tuned model -> folder of its adapter in the store
    rank: int  # of the largest adapter; 0 without
    config: EngineConfig

    @property
    def names(self) -> list[str]:
        """Of all models that it answers as."""
        return [self.model.name, *self.adapters]


class Prompt(NamedTuple):
    """An example."""

    language: str
    text: str


class Served(NamedTuple):
    """All that the application is built from. Pickled to the replicas; holds no secret."""

    store: Store
    title: str
    engines: list[EngineSpec]
    parents: dict[str, str]  # tuned model -> its parent, of those that are served
    scorers: list[score.ResolvedScorer]  # members before those that are made of them
    primary: str | None  # the scorer shown first
    identifier: str | None
    fasttext: str | None
    prompts: list[Prompt]
    runs: str | None  # the storage whose runs are listed
    config: ServeConfig
    generate: GenerateConfig = GenerateConfig()  # how completions are drawn where a request does not say
    threshold: float = MeasureConfig().threshold  # of the score from which a completion is toxic

    @property
    def models(self) -> list[str]:
        return [name for engine in self.engines for name in engine.names]


def resolve(args: ServeArgs) -> Served:
    """Raises ConfigError or InputError where something that should be served is not there."""
    return _of_run(args.run, args.serve) if args.run is not None else _of_models(args)


def arguments(run: str | None, models: Sequence[str], scorers: Sequence[str], overrides: Sequence[str]) -> ServeArgs:
    """From the command line: RUN or NAME=PATH…, and dotted overrides of the serve block.

    Raises ConfigError with every problem found.
    """
    malformed = [Problem("--model", given, "must have the form NAME=PATH") for given in models if "=" not in given[1:]]
    if malformed:
        raise ConfigError(malformed)
    block = experiment_of(run).serve.model_dump(mode="json") if run is not None else {}
    named = {name: {"path": path} for name, _, path in (given.partition("=") for given in models)}
    raw = {"run": run, "models": named, "scorers": list(scorers), "serve": merged(block, overrides)}
    return validated(ServeArgs, raw, "arguments")


def experiment_of(run: str) -> Experiment:
    """The experiment of a run's folder. Raises InputError where there is none."""
    import yaml

    store = Store.at(run)
    if not store.exists("experiment.yaml"):
        raise InputError(f"RUN: must be a run's folder or URI: it has no experiment.yaml (got {run!r})")
    return validated(Experiment, yaml.safe_load(store.read_bytes("experiment.yaml")), "experiment.yaml")


def _of_run(run: str, config: ServeConfig) -> Served:
    experiment, store = experiment_of(run), Store.at(run)
    names = config.models or list(experiment.models)
    committed = store.committed(CHECKPOINTS)
    found: dict[str, LoadableModel] = {}
    problems: list[Problem] = []
    for name in names:
        model = experiment.models.get(name)
        if model is None:
            problems.append(Problem("serve.models", name, f"must be one of {', '.join(experiment.models)}"))
        elif model.path == TOY17:
            found[name] = LoadableModel(name, f"{TOY17}/model", True, None, model.dtype, "")
        elif key := committed.get(CHECKPOINTS.unit(model=name)):
            found[name] = LoadableModel(name, f"checkpoints/{name}", True, None, model.dtype, key)
        elif model.path is not None:
            found[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
        else:
            problems.append(Problem("serve.models", name, f"is not trained yet: `detox-ray run` of {run} first"))
    if problems:
        raise ConfigError(problems)
    parents = {name: parent for name in names if (parent := experiment.models[name].descends_from) in found}
    # Merged into its parent's 4-bit rounding; on the parent's own weights its adapter would make another model.
    rounded = {name for name in parents if (train := experiment.models[name].train) and train.merge_into == "4-bit"}
    wanted = experiment.score.names if config.scorers is None else config.scorers
    scorers: dict[str, score.ResolvedScorer] = {}
    for entry, name in zip(experiment.score.scorers, experiment.score.names, strict=True):
        scorers[name] = score.resolve(entry, TOY17 if experiment.uses_toy17 else None, store, scorers)
    headline = experiment.score.headline
    return Served(
        store,
        experiment.name,
        _engines(found, {tuned: parent for tuned, parent in parents.items() if tuned not in rounded}, store, config),
        parents,
        [scorer for name, scorer in scorers.items() if name in wanted],
        headline if headline in wanted else next(iter(wanted), None),
        experiment.quality.identifier,
        experiment.quality.fasttext,
        _prompts(store, experiment.languages),
        _storage(store),
        config,
        experiment.generate,
        experiment.measure.threshold,
    )


def _storage(store: Store) -> str:
    """The folder that the run's folder lies in."""
    folder, mark, query = store.uri.partition("?")
    return folder.rstrip("/").rpartition("/")[0] + mark + query


def _of_models(args: ServeArgs) -> Served:
    problems = [p for name, model in args.models.items() for p in models.check(f"models.{name}.path", model.path or "")]
    known = score.ready_scorers()
    problems += [
        Problem("scorers", name, "unknown: see detox-ray scorers") for name in args.scorers if name not in known
    ]
    if problems:
        raise ConfigError(problems)
    store = Store.at(str(cache_folder() / "serve"))
    found: dict[str, LoadableModel] = {}
    for name, model in args.models.items():
        assert model.path is not None
        found[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
    parents = {name: m.parent for name, m in args.models.items() if m.parent in found}
    scorers = [score.resolve(name, None, store) for name in args.scorers]
    engines = _engines(found, parents, store, args.serve)
    primary = next(iter(args.scorers), None)
    return Served(store, ", ".join(found), engines, parents, scorers, primary, "py3langid", None, [], None, args.serve)


def _engines(
    found: dict[str, LoadableModel], parents: dict[str, str], store: Store, config: ServeConfig
) -> list[EngineSpec]:
    """An engine for each model, but for those whose adapter their parent's engine can take."""
    own: dict[str, sharing.Adapter] = {}
    if config.share_engines:
        for name, parent in parents.items():
            adapter = sharing.adapter_of(found[name], found[parent], store)
            if adapter is not None and name not in config.engines:
                own[name] = adapter
    # An adapter of a model that is itself an adapter would need that one merged: such a model has an engine.
    shared = {name for name in own if parents[name] not in own}
    specs = []
    for name, model in found.items():
        if name not in shared:
            mine = {tuned: own[tuned] for tuned in shared if parents[tuned] == name}
            rank = max((adapter.rank for adapter in mine.values()), default=0)
            folders = {tuned: adapter.folder for tuned, adapter in mine.items()}
            specs.append(EngineSpec(model, folders, rank, config.engines.get(name, config.engine)))
    return specs


def _prompts(store: Store, languages: Sequence[str]) -> list[Prompt]:
    """Some of the run's prompts, in each of its languages."""
    committed = store.committed(PROMPTS)
    found = []
    for language in languages:
        unit = PROMPTS.unit(language=language)
        if unit in committed:
            texts = store.read(unit, committed[unit])["text"].slice(0, PROMPTS_PER_LANGUAGE).to_pylist()
            found += [Prompt(language, text) for text in texts]
    return found
