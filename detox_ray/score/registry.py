"""Turn a scorer's name or definition, of any type, into something that any node can load. Imports no torch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from detox_ray.config import InputError, Problem, ScoreConfig, ScorerConfig
from detox_ray.config.base import closest
from detox_ray.config.scorers import scorer_types
from detox_ray.score.scorer_variant import ReadyScorer, ResolvedScorer, ScorerVariant
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of


def ready_scorers() -> dict[str, ReadyScorer]:
    """Return the scorers that need no definition, by name. Raises InputError if two types use one name."""
    ready: dict[str, ReadyScorer] = {}
    for kind in scorer_types().values():
        assert issubclass(kind, ScorerVariant)
        for scorer in kind.ready():
            if scorer.name in ready:
                other = ready[scorer.name].config.kind
                raise InputError(f"types {other} and {kind.kind} both have a ready scorer {scorer.name!r}")
            ready[scorer.name] = scorer
    return ready


def definition_of(entry: str | ScorerConfig) -> ScorerVariant:
    """Return the definition that an entry of ``score.scorers`` stands for. Raises KeyError for an unknown name."""
    config = ready_scorers()[entry].config if isinstance(entry, str) else entry
    assert isinstance(config, ScorerVariant)
    return config


def check(config: ScoreConfig, say: Callable[[str], None] = lambda note: None) -> list[Problem]:
    """Return the problems of names, files, settings that exclude each other, and of the environment.

    The names of members are checked when the config is read. ``say`` is called with notes on how files were read.
    """
    ready, problems = ready_scorers(), list[Problem]()
    for index, entry in enumerate(config.scorers):
        field = f"score.scorers.{index}"
        if isinstance(entry, str) and entry not in ready:
            rule = f"unknown scorer{closest(entry, ready)}; known: {', '.join(ready)} (or define one: name, type, …)"
            problems.append(Problem(field, entry, rule))
            continue
        definition = definition_of(entry)
        if isinstance(entry, str):
            problems += [problem._replace(field=field) for problem in definition.check_settings()]
            continue
        if entry.name in ready:
            problems.append(Problem(f"{field}.name", entry.name, "is the name of a ready scorer: choose another"))
        of_scorer = [*definition.check_files(say), *definition.check_settings()]
        problems += [problem._replace(field=f"{field}.{problem.field}") for problem in of_scorer]
    return problems


def resolve(
    entry: str | ScorerConfig,
    world: str | None,
    store: Store,
    earlier: Mapping[str, ResolvedScorer] = MappingProxyType({}),
) -> ResolvedScorer:
    """Resolve a scorer by its name or definition.

    Args:
        entry: An entry of ``score.scorers``.
        world: The folder of toy17 in the store, if the experiment uses toy17.
        store: The run's folder.
        earlier: The scorers that are listed before this one, by name.

    Raises:
        InputError: A hub model is unavailable or has no safetensors, or a calibration was fitted to other scores.
    """
    config = definition_of(entry)
    resolved = config.resolve(store, world, earlier)
    languages = resolved.languages if config.languages is None else tuple(config.languages)
    if isinstance(entry, str):
        ready = ready_scorers()[entry]
        languages = languages if ready.languages is None else ready.languages
        resolved = resolved._replace(licence=ready.licence)
    members = [member.key for member in resolved.members]
    key = key_of(identity=resolved.identity, languages=languages, members=members)
    return resolved._replace(languages=languages, key=key)


def load(scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
    """Load a scorer on this node. Scorers that are made from others are not loaded (derived_scorers.py)."""
    return scorer.config.load(scorer, store, batch_tokens)
