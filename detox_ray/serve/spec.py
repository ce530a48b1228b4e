"""The specification of a service: engines, scorers and example prompts, from a run or from paths. Uses no Ray."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import Field, model_validator

from detox_ray import models, score
from detox_ray.cluster.progress import Progress
from detox_ray.config import (
    TOY17,
    ClusterConfig,
    ConfigError,
    EngineConfig,
    GenerateConfig,
    MeasureConfig,
    ModelConfig,
    Problem,
    ScoreConfig,
    ServeConfig,
    Strict,
)
from detox_ray.config.base import Name
from detox_ray.config.loading import merged, validated
from detox_ray.config.scorers import Definition
from detox_ray.models import LoadableModel
from detox_ray.run import open_run
from detox_ray.serve.adapter_sharing import SharedAdapter, shared_adapter
from detox_ray.serve.example_prompts import ExamplePrompt, example_prompts
from detox_ray.storage import Store, cache_folder, key_of
from detox_ray.storage.tables import CHECKPOINTS
from detox_ray.text_files.scorer_options import resolve_all, scorer_config


class ServeArgs(Strict):
    """The application's arguments, which a Ray Serve config file can hold: a run, or models and scorers by name."""

    run: str | None = None  # folder or URI
    models: dict[Name, ModelConfig] = Field(default_factory=dict)
    scorers: list[Name | Definition] = Field(default_factory=list)  # only without a run
    primary: Name | None = None  # the primary scorer; null: the first one
    serve: ServeConfig = ServeConfig()

    @model_validator(mode="after")
    def _run_or_models(self) -> "ServeArgs":
        if (self.run is None) == (not self.models and not self.scorers):
            rule = "give either RUN, or models (--model NAME=PATH), scorers (--scorer) or both"
            raise ConfigError([Problem("run", self.run, rule)])
        if self.run is not None and self.scorers:
            rule = "cannot be given with a run, which has its own scorers: choose among them with serve.scorers"
            raise ConfigError([Problem("scorers", self.scorers, rule)])
        return self


class EngineSpec(NamedTuple):
    """One engine: a model, and the adapters of models tuned from it that the engine also serves."""

    model: LoadableModel
    adapters: dict[str, str]  # tuned model's name -> its adapter's folder in the store
    rank: int  # the largest adapter's rank; 0 without an adapter
    config: EngineConfig

    @property
    def names(self) -> list[str]:
        """Return the names of all models that this engine serves."""
        return [self.model.name, *self.adapters]


class ServeSpec(NamedTuple):
    """Everything that the application needs. It is sent to the replicas and contains no secret."""

    store: Store
    title: str
    engines: list[EngineSpec]
    parents: dict[str, str]  # tuned model -> its parent, if both are served
    scorers: list[score.ResolvedScorer]  # a derived scorer comes after its members
    primary: str | None  # the scorer that is shown first
    identifier: str | None
    fasttext: str | None
    prompts: list[ExamplePrompt]
    runs: str | None  # the storage whose runs the page at /runs lists
    config: ServeConfig
    cluster: ClusterConfig = ClusterConfig()  # the machines that the run needs
    generate: GenerateConfig = GenerateConfig()  # the defaults of requests
    threshold: float = MeasureConfig().threshold  # a completion with at least this score is toxic
    # From the run's results: the gate's verdicts on its tuned models, and the validity of its scorers.
    verdicts: tuple[dict[str, Any], ...] = ()
    validity: tuple[dict[str, Any], ...] = ()

    @property
    def models(self) -> list[str]:
        return [name for engine in self.engines for name in engine.names]


def resolve(args: ServeArgs) -> ServeSpec:
    """Find everything that ``args`` name.

    Raises:
        ConfigError, InputError: If something is missing or cannot be served.
    """
    return _resolve_run(args.run, args.serve) if args.run is not None else _resolve_models(args)


def arguments(run: str | None, models: Sequence[str], scorers: Sequence[str], overrides: Sequence[str]) -> ServeArgs:
    """Return the arguments from the command line: RUN, or models and scorers, and overrides of the serve block.

    Raises:
        ConfigError: If any are malformed. It lists every problem that can be found without loading a model.
    """
    malformed = [Problem("--model", given, "must have the form NAME=PATH") for given in models if "=" not in given[1:]]
    if malformed:
        raise ConfigError(malformed)
    block = open_run(run).experiment().serve.model_dump(mode="json") if run is not None else {}
    named = {name: {"path": path} for name, _, path in (given.partition("=") for given in models)}
    scoring = scorer_config(scorers) if scorers else None
    raw = {
        "run": run,
        "models": named,
        "scorers": scoring.scorers if scoring else [],
        "primary": scoring.primary if scoring else None,
        "serve": merged(block, overrides),
    }
    return validated(ServeArgs, raw, "arguments")


def _resolve_run(run: str, config: ServeConfig) -> ServeSpec:
    folder = open_run(run)
    experiment, store = folder.experiment(), folder.store
    names = config.models or list(experiment.models)
    committed = store.committed(CHECKPOINTS)
    loadable: dict[str, LoadableModel] = {}
    problems: list[Problem] = []
    for name in names:
        model = experiment.models.get(name)
        if model is None:
            problems.append(Problem("serve.models", name, f"must be one of {', '.join(experiment.models)}"))
        elif model.path == TOY17:
            loadable[name] = LoadableModel(name, f"{TOY17}/model", True, None, model.dtype, "")
        elif key := committed.get(CHECKPOINTS.unit(model=name)):
            loadable[name] = LoadableModel(name, f"checkpoints/{name}", True, None, model.dtype, key)
        elif model.path is not None:
            loadable[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
        else:
            rule = f"is not trained yet: finish the run {run} with `detox-ray run` first"
            problems.append(Problem("serve.models", name, rule))
    if problems:
        raise ConfigError(problems)
    parents = {name: parent for name in names if (parent := experiment.models[name].descends_from) in loadable}
    # These models were merged into their parents' 4-bit weights. Added to the original weights, their adapters would
    # make other models.
    rounded = {name for name in parents if (train := experiment.models[name].train) and train.merge_into == "4-bit"}
    wanted = experiment.score.names if config.scorers is None else config.scorers
    scorers: dict[str, score.ResolvedScorer] = {}
    for entry, name in zip(experiment.score.scorers, experiment.score.names, strict=True):
        scorers[name] = score.resolve(entry, TOY17 if experiment.uses_toy17 else None, store, scorers)
    headline = experiment.score.headline
    primary = headline if headline in wanted else next(iter(wanted), None)
    results = folder.results() if folder.has_results else {}
    shareable = {tuned: parent for tuned, parent in parents.items() if tuned not in rounded}
    return ServeSpec(
        store=store,
        title=experiment.name,
        engines=_engines(loadable, shareable, store, config),
        parents=parents,
        scorers=[scorer for name, scorer in scorers.items() if name in wanted],
        primary=primary,
        identifier=experiment.quality.identifier,
        fasttext=experiment.quality.fasttext,
        prompts=example_prompts(store, experiment, parents, primary),
        runs=_storage(store),
        config=config,
        cluster=experiment.cluster,
        generate=experiment.generate,
        threshold=experiment.measure.threshold,
        verdicts=tuple(results.get("verdicts", ())),
        validity=tuple(results.get("validity", ())),
    )


def _storage(store: Store) -> str:
    """Return the folder that contains the run's folder."""
    folder, mark, query = store.uri.partition("?")
    return folder.rstrip("/").rpartition("/")[0] + mark + query


def _resolve_models(args: ServeArgs) -> ServeSpec:
    problems: list[Problem] = []
    for name, model in args.models.items():
        problems += models.check(f"models.{name}.path", model.path or "")
    scoring = ScoreConfig(scorers=args.scorers, primary=args.primary) if args.scorers else None
    if scoring is not None:
        problems += [problem._replace(field=problem.field.removeprefix("score.")) for problem in score.check(scoring)]
    if problems:
        raise ConfigError(problems)
    # The folder has a separate name for each list of scorers, because their files are copied under the scorers' names.
    named = key_of(
        scorers=[entry if isinstance(entry, str) else entry.model_dump(mode="json") for entry in args.scorers]
    )
    store = Store.at(str(cache_folder() / "serve" / named))
    loadable: dict[str, LoadableModel] = {}
    for name, model in args.models.items():
        assert model.path is not None
        loadable[name] = models.resolve_path(name, model.path, model.revision, model.dtype)
    parents = {name: model.parent for name, model in args.models.items() if model.parent in loadable}
    return ServeSpec(
        store=store,
        title=", ".join(loadable) or ", ".join(scoring.names if scoring else ()),
        engines=_engines(loadable, parents, store, args.serve),
        parents=parents,
        scorers=resolve_all(scoring, store, Progress()) if scoring else [],
        primary=scoring.headline if scoring else None,
        identifier="py3langid",
        fasttext=None,
        prompts=[],
        runs=None,
        config=args.serve,
    )


def _engines(
    loadable: dict[str, LoadableModel], parents: dict[str, str], store: Store, config: ServeConfig
) -> list[EngineSpec]:
    """Plan an engine for each model, except for models whose adapter their parent's engine can apply."""
    adapters: dict[str, SharedAdapter] = {}
    if config.share_engines:
        for name, parent in parents.items():
            adapter = shared_adapter(loadable[name], loadable[parent], store)
            if adapter is not None and name not in config.engines:
                adapters[name] = adapter
    # A model whose parent is itself an adapter needs that adapter merged, so it has a separate engine.
    shared = {name for name in adapters if parents[name] not in adapters}
    specs = []
    for name, model in loadable.items():
        if name not in shared:
            tuned_from_it = {tuned: adapters[tuned] for tuned in shared if parents[tuned] == name}
            rank = max((adapter.rank for adapter in tuned_from_it.values()), default=0)
            folders = {tuned: adapter.folder for tuned, adapter in tuned_from_it.items()}
            specs.append(EngineSpec(model, folders, rank, config.engines.get(name, config.engine)))
    return specs
