"""The units of the explain stage, and the inputs of each. Pure functions.

The units form rounds, each of which needs the one before: texts and their states (probes, continuations, alignments);
value vectors; activations; then interventions and the tables that are computed from activations.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from detox_ray.cluster.stage import Context, Planned
from detox_ray.config import Experiment, GenerateConfig
from detox_ray.explain import tables
from detox_ray.explain.planned_edits import UNTOUCHED, PlannedEdit, offset_edits, transplant_edits
from detox_ray.explain.settings import Settings
from detox_ray.generate.engines import resolve_engine
from detox_ray.score import identifiers
from detox_ray.storage import Table, Unit, key_of
from detox_ray.storage.tables import LABELLED, PAIRS, PROMPTS, SCORES, TEXTS

OWN, SAME = "own", "same"
ENGLISH = "en"


class Explained(NamedTuple):
    """The models to explain, with the settings and properties that all units share."""

    parents: dict[str, str]  # tuned model -> its parent
    settings: Settings
    properties: Mapping[str, Mapping[str, float]]  # predictor -> language -> value, for predictors that need no model

    @property
    def sources_of(self) -> list[str]:
        """Return the distinct parents."""
        return list(dict.fromkeys(self.parents.values()))

    @property
    def models(self) -> list[str]:
        """Return the distinct parents and tuned models."""
        return list(dict.fromkeys([*self.sources_of, *self.parents]))


def parents_of(experiment: Experiment) -> dict[str, str]:
    """Return {tuned model: parent} for the models to explain; the parent is the first one that it is compared with."""
    assert experiment.explain is not None
    wanted = experiment.explain.models
    parents: dict[str, str] = {}
    for comparison in experiment.comparisons:
        if wanted is None or comparison.model in wanted:
            parents.setdefault(comparison.model, comparison.parent)
    return parents


def units(context: Context, explained: Explained) -> dict[Unit, Planned]:
    """Return all units of the stage."""
    return _Plan(context, explained).units()


class _Plan:
    def __init__(self, context: Context, explained: Explained):
        self._context, self._explained = context, explained
        self._config = explained.settings.config
        settings = explained.settings
        lexicon = {code: list(forms) for code, forms in settings.insults.items()}
        self._given = key_of(sources=settings.given, probe=settings.stored, lexicon=lexicon)  # the user's files
        self._languages = context.experiment.languages
        self._planned: dict[Unit, Planned] = {}

    def units(self) -> dict[Unit, Planned]:
        for parent in self._explained.sources_of:
            self._vectors(parent)
        for model in self._explained.models:
            self._activations(model)
        for model, parent in self._explained.parents.items():
            self._tuned(model, parent)
        for parent in self._explained.sources_of:
            self._derived(parent)
        return self._planned

    def _data(self, *chosen: Table, language: str | None = None) -> list[Unit]:
        """Return the units of some data tables, in one language or in all."""
        units = self._context.units(*chosen)
        return [unit for unit in units if language is None or unit.get("language") == language]

    def _settings(self, *names: str) -> dict[str, Any]:
        """Return fields of the block, the convention, and a hash of the content of the user's files."""
        fields = self._config.model_dump(mode="json")
        return {
            **{name: fields[name] for name in names},
            "convention": str(self._explained.settings.convention),
            "given": self._given,
        }

    def _of_model(self, model: str, inputs: Iterable[Unit], **settings: Any) -> Planned:
        dtype = self._context.models[model].dtype
        return self._context.of_model(model, *dict.fromkeys(inputs), dtype=dtype, **settings)

    def _resampling(self) -> dict[str, Any]:
        return {"resampling": list(self._explained.settings.resampling)}

    def _vectors(self, parent: str) -> None:
        texts = self._data(PAIRS, LABELLED)
        probe = tables.PROBES.unit(model=parent)
        self._planned[probe] = self._of_model(parent, texts, **self._settings("probe"), **self._resampling())
        fields = ("value_vectors", "sources", "lens_tokens", "random", "probe")
        neurons = self._of_model(parent, [probe], **self._settings(*fields))
        self._planned[tables.NEURONS.unit(model=parent)] = neurons
        sentences = self._explained.settings.sentences
        for language, lines in sentences.items():
            settings = {"sentences": key_of(english=sentences[ENGLISH], lines=lines)}
            planned = self._of_model(parent, [], **self._settings(), **settings)
            self._planned[tables.ALIGNMENTS.unit(model=parent, language=language)] = planned

    def _activations(self, model: str) -> None:
        parent = self._explained.parents.get(model)
        probed = parent or model
        neurons = tables.NEURONS.unit(model=probed)
        projections = self._of_model(model, [tables.PROBES.unit(model=probed)], **self._settings())
        self._planned[tables.PROJECTIONS.unit(model=model)] = projections
        for language in self._languages:
            continuations = tables.CONTINUATIONS.unit(model=model, language=language)
            prompts = self._data(PROMPTS, language=language)
            self._planned[continuations] = self._of_model(model, prompts, **self._settings("prompts", "new_tokens"))
            states = tables.RESIDUAL_STATES.unit(model=model, language=language)
            prompted = tables.CONTINUATIONS.unit(model=probed, language=language)
            self._planned[states] = self._of_model(model, [prompted], **self._settings())
            texts = {OWN: continuations}
            if parent is not None:
                texts[SAME] = tables.CONTINUATIONS.unit(model=parent, language=language)
            for text, read in texts.items():
                unit = tables.ACTIVATIONS.unit(text=text, model=model, language=language)
                self._planned[unit] = self._of_model(model, [read, neurons], **self._settings())

    def _english(self, parent: str) -> list[Unit]:
        """Return the units that determine the parent's sources."""
        return [
            tables.NEURONS.unit(model=parent),
            tables.ACTIVATIONS.unit(text=OWN, model=parent, language=ENGLISH),
        ]

    def _derived(self, parent: str) -> None:
        settings = {**self._settings("sources"), **self._resampling()}
        self._planned[tables.SOURCES.unit(model=parent)] = Planned(tuple(self._english(parent)), settings)
        models = [parent, *(model for model, of in self._explained.parents.items() if of == parent)]
        for model in models:
            for language in self._languages:
                for text in (OWN, SAME):
                    read = OWN if model == parent else text
                    activations = tables.ACTIVATIONS.unit(text=read, model=model, language=language)
                    unit = tables.SOURCE_ACTIVATIONS.unit(text=text, model=model, language=language)
                    inputs = dict.fromkeys([*self._english(parent), activations])
                    self._planned[unit] = Planned(tuple(inputs), settings)
        readings = [tables.ACTIVATIONS.unit(text=OWN, model=parent, language=code) for code in self._languages]
        to_overlap = (tables.PROJECTIONS.unit(model=parent), *readings)
        overlaps = {**self._settings("value_vectors"), "seed": self._config.probe.seed}
        self._planned[tables.LANGUAGE_OVERLAPS.unit(model=parent)] = Planned(to_overlap, overlaps)
        alignments = self._alignments(parent)
        if alignments:
            predictors = Planned(tuple(alignments), {**self._settings(), **self._properties()})
            self._planned[tables.PREDICTORS.unit(model=parent)] = predictors
        if self._config.offsets is not None or self._config.transplants is not None:
            self._interventions(parent, self._english(parent), offset_edits(self._config))

    def _tuned(self, model: str, parent: str) -> None:
        for language in self._languages:
            inputs = (
                tables.PROJECTIONS.unit(model=parent),
                tables.PROJECTIONS.unit(model=model),
                tables.ACTIVATIONS.unit(text=OWN, model=parent, language=language),
                tables.ACTIVATIONS.unit(text=SAME, model=model, language=language),
            )
            unit = tables.CONTRIBUTIONS.unit(model=model, language=language)
            self._planned[unit] = Planned(inputs, self._settings())
            states = [tables.RESIDUAL_STATES.unit(model=name, language=language) for name in (parent, model)]
            unit = tables.RESIDUAL_SHIFTS.unit(model=model, language=language)
            self._planned[unit] = Planned((tables.PROBES.unit(model=parent), *states), self._settings())
        if self._config.transplants is not None:
            readings = [tables.ACTIVATIONS.unit(text=OWN, model=parent, language=ENGLISH)]
            self._interventions(model, readings, transplant_edits(self._config))
        alignments = self._alignments(parent)
        scorer = scorer_of(self._context.experiment)
        scores = [unit for unit in self._data(SCORES) if unit["scorer"] == scorer and unit["model"] in (model, parent)]
        if alignments and scores:
            settings = {**self._settings(), **self._resampling(), **self._properties(), "scorer": scorer}
            self._planned[tables.CORRELATIONS.unit(model=model)] = Planned((*alignments, *scores), settings)

    def _interventions(self, model: str, read: list[Unit], edits: Sequence[PlannedEdit]) -> None:
        """Plan the unedited model and each edit."""
        experiment = self._context.experiment
        config = experiment.quality
        identifier = config.identifier and identifiers.revision(
            config.identifier, config.fasttext, identifiers.beside_known(self._languages)
        )
        scorer = next(scorer for scorer in self._context.resolved["scores"] if scorer.name == scorer_of(experiment))
        options = experiment.generate.engine_options
        settings = {
            **self._settings("edited_prompts", "edited_texts", "edited_samples", "new_tokens"),
            **({"engine_options": options} if options else {}),
            "generate": experiment.generate.model_dump(include={"temperature", "top_p"}),
            "engine": resolve_engine(edited_generation(experiment)),
            "seed": experiment.seed,
            "scorer": scorer.key,
            "identifier": identifier,
        }
        items = [unit for unit in self._data(PROMPTS, TEXTS) if unit["language"] in self._languages]
        untouched = tables.INTERVENTIONS.unit(model=model, edit=UNTOUCHED.name)
        self._planned[untouched] = self._of_model(model, items, **settings)
        units = "raw" if self._config.offsets is None else self._config.offsets.units
        settings |= {**self._settings("sources"), **self._resampling(), "seed_of_draws": self._config.probe.seed}
        inputs = [*read, *items]
        parent = self._explained.parents.get(model)
        if parent is None:
            settings |= {"units": units}
        else:
            other = self._of_model(parent, [])
            inputs += other.inputs
            settings |= {"parent": dict(other.settings)}
        for edit in edits:
            unit = tables.INTERVENTIONS.unit(model=model, edit=edit.name)
            self._planned[unit] = self._of_model(model, inputs, **settings, edit=edit.name)

    def _alignments(self, parent: str) -> list[Unit]:
        return [
            tables.ALIGNMENTS.unit(model=parent, language=language) for language in self._explained.settings.sentences
        ]

    def _properties(self) -> dict[str, Any]:
        return {"properties": {name: dict(values) for name, values in self._explained.properties.items()}}


def scorer_of(experiment: Experiment) -> str:
    """Return the scorer of the edited models' completions."""
    assert experiment.explain is not None
    return experiment.explain.scorer or experiment.score.headline


def edited_generation(experiment: Experiment) -> GenerateConfig:
    """Return how an edited model continues prompts: as the generate block says, greedily if one sample is asked for."""
    config = experiment.explain
    assert config is not None
    greedy = {"temperature": 0.0} if config.edited_samples == 1 else {}
    engine = config.engine or experiment.generate.engine
    changes = {"samples": config.edited_samples, "max_tokens": config.new_tokens, "engine": engine, **greedy}
    by_prompt = {"seeding": "prompt"}  # all edits continue a prompt with the same seeds
    return experiment.generate.model_copy(update=changes | by_prompt)
