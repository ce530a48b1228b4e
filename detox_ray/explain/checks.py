"""Problems of the explain block, found before anything is spent."""

from collections.abc import Callable, Iterator
from pathlib import Path

from detox_ray.config import Experiment, InputError, Problem
from detox_ray.explain.given_files import published_shares, read_lexicon, read_neurons, read_probe, read_shares
from detox_ray.explain.language_distances import distances_of
from detox_ray.explain.parallel import parallel_sentences
from detox_ray.explain.plan import ENGLISH, edited_generation, parents_of, scorer_of
from detox_ray.generate.engines import resolve_engine
from detox_ray.models import limits
from detox_ray.models.neurons import layout_problem
from detox_ray.score import definition_of


def check(experiment: Experiment) -> list[Problem]:
    """Return all problems of the block."""
    return [*_models(experiment), *_engine(experiment), *_probe(experiment), *_files(experiment)]


def _models(experiment: Experiment) -> Iterator[Problem]:
    assert experiment.explain is not None
    parents = parents_of(experiment)
    if not parents:
        yield Problem("explain", "models", "there is nothing to explain: no model is compared with a parent")
    for model in parents:
        if model in parents.values():
            rule = "is both tuned and the parent of another: list models of one generation in explain.models"
            yield Problem("explain.models", model, rule)
    if ENGLISH not in experiment.languages:
        yield Problem("languages", experiment.languages, "explain needs en: sources are chosen on English prompts")
    files = limits.read(experiment)
    for root in dict.fromkeys(limits.root(experiment, name) for name in (*parents, *parents.values())):
        config = files[root].config if root in files else {}
        if "model_type" in config and (reason := layout_problem(config)):
            yield Problem("explain.models", root, reason)
        if "quantization_config" in config and experiment.explain.transplants:
            rule = f"edits columns of weights, and those of {root} are quantised: set it to null (offsets are biases)"
            yield Problem("explain.transplants", "quantised weights", rule)
        layer, layers = experiment.explain.probe.layer, config.get("num_hidden_layers", config.get("n_layer"))
        if isinstance(layer, int) and isinstance(layers, int) and layer >= layers:
            yield Problem("explain.probe.layer", layer, f"must be less than {layers}, the number of layers of {root}")
    scorer = scorer_of(experiment)
    entry = dict(zip(experiment.score.names, experiment.score.scorers, strict=True))[scorer]
    try:
        derived = bool(definition_of(entry).made_from)
    except KeyError:
        return  # an unknown scorer is a problem of its own
    if derived and (experiment.explain.offsets or experiment.explain.transplants):
        rule = "is made from other scorers, and edited models' completions need one by itself: name it here"
        yield Problem("explain.scorer", scorer, rule)


def _engine(experiment: Experiment) -> Iterator[Problem]:
    assert experiment.explain is not None
    if experiment.explain.offsets is None and experiment.explain.transplants is None:
        return
    generate = edited_generation(experiment)
    try:
        engine = resolve_engine(generate)
    except ValueError as error:
        yield Problem("explain.engine", generate.engine, str(error))
        return
    if engine.name == "vllm" and generate.pipeline_parallel > 1:
        rule = "edits need all layers in each worker, and generate.pipeline_parallel spreads them: take transformers"
        yield Problem("explain.engine", generate.engine, rule)


def _probe(experiment: Experiment) -> Iterator[Problem]:
    assert experiment.explain is not None
    config = experiment.explain.probe
    if config.source == "labelled" and experiment.validity is None:
        yield Problem("explain.probe.source", config.source, "needs labelled text: a validity block")
    if config.source != "labelled" and experiment.data.pairs is None:
        yield Problem("explain.probe.source", config.source, "needs data.pairs, which train the probe or its controls")
    if config.source == "labelled" and config.language not in experiment.languages:
        yield Problem("explain.probe.language", config.language, "must be one of the experiment's languages")
    yield from _read("explain.probe.path", config.path, read_probe)


def _files(experiment: Experiment) -> Iterator[Problem]:
    config = experiment.explain
    assert config is not None
    yield from _read("explain.sources", config.sources, read_neurons)
    yield from _read("explain.lexicon", config.lexicon, read_lexicon)
    if config.shares not in published_shares():
        yield from _read("explain.shares", config.shares, read_shares)
    if config.distances is not None:
        try:
            distances_of(config.distances, experiment.languages)
        except InputError as error:
            yield Problem("explain.distances", config.distances, str(error).removeprefix("explain.distances: "))
    if (config.distances or config.shares) and config.parallel is None:
        field = "distances" if config.distances else "shares"
        yield Problem(f"explain.{field}", config.distances or config.shares, "needs explain.parallel")
    parallel = config.parallel
    if parallel is not None and ENGLISH in experiment.languages:

        def read(path: Path) -> object:
            return parallel_sentences(parallel, experiment.languages, experiment.seed)

        yield from _read("explain.parallel.path", parallel.path, read)


def _read(field: str, path: str | None, read: Callable[[Path], object]) -> Iterator[Problem]:
    """Yield the problem that reading a file shows; none without a file."""
    if path is None:
        return
    file = Path(path).expanduser()
    if not file.exists():
        yield Problem(field, path, "must exist")
        return
    try:
        read(file)
    except InputError as error:
        yield Problem(field, path, str(error).removeprefix(f"{field}: "))
