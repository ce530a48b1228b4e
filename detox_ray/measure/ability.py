"""Ability: the language consistency, fluency and novelty of completions of harmless text.

The metrics are the same as for completions of the toxicity prompts (consistency.py, fluency.py, diversity.py), with the
same conventions, on separate tables. As in the paper, ``neplenbroek2025`` has no difference of perplexity or novelty
for a language if both models share fewer than 100 completions (65 in Maltese) in the right language.
"""

from dataclasses import replace

from detox_ray.measure import consistency, diversity, fluency
from detox_ray.measure.quantities import LanguageInputs, MetricFamily, Quantities, language_inputs
from detox_ray.measure.statistics import Series, without_value
from detox_ray.storage.completion_tables import ABILITY, TOXICITY
from detox_ray.storage.metric_spec import MetricSpec
from detox_ray.storage.units import Table

PREFIX = "ability_"
FEWEST, FEWEST_MALTESE = 100, 65
TOO_FEW = "too_few_in_the_right_language"
_TABLES: dict[Table, Table] = dict(zip(TOXICITY, ABILITY, strict=True))
_MEASURED = (fluency.PERPLEXITY, diversity.NOVELTY, *consistency.FAMILY.specs)


def _spec(spec: MetricSpec) -> MetricSpec:
    return replace(
        spec,
        name=PREFIX + spec.name,
        title=f"{spec.title}, harmless text",
        meaning=f"{spec.meaning}, of harmless prompts",
        short=f"{spec.short}, harmless",
        kind="ability",
        series_title=spec.series_title.replace(" of completions under {scorer}", " under {scorer}"),
        tradeoff=False,
        needs=tuple(_TABLES[table] for table in spec.needs),
    )


SPECS = tuple(map(_spec, _MEASURED))


def _add(context: LanguageInputs, quantities: Quantities) -> None:
    """Add the ability of every model in one language."""
    if context.inputs.ability is None:
        return
    own = language_inputs(context.inputs.ability, context.convention, context.threshold, context.language)
    found = Quantities({}, {}, [], {})
    for family in (fluency.FAMILY, diversity.FAMILY, consistency.FAMILY):
        family.add(own, found)
    names = {spec.name for spec in SPECS}
    for (quantity, model), series in found.series.items():
        renamed = quantity._replace(metric=PREFIX + quantity.metric)
        if renamed.metric in names:
            quantities.series[renamed, model] = series
    fewest = FEWEST_MALTESE if context.language == "mt" else FEWEST
    for (quantity, model, parent), sides in found.paired.items():
        few = len(sides[0].clusters) < fewest  # each cluster is a prompt with one completion
        kept: tuple[Series, Series] = (without_value(TOO_FEW), without_value(TOO_FEW)) if few else sides
        quantities.paired[quantity._replace(metric=PREFIX + quantity.metric), model, parent] = kept
    quantities.counts.extend(count._replace(scorer=f"ability: {count.scorer}") for count in found.counts)


FAMILY = MetricFamily(SPECS, _add)
