"""How far each scorer can be believed, from its scores of human-labelled text; and where it counts in macro means."""

from collections.abc import Mapping, Sequence

from detox_ray import data
from detox_ray.measure.validity import Validity, has_evidence, labelled_validity
from detox_ray.run.plan import Prepared
from detox_ray.run.reading import Tables, settings
from detox_ray.storage import Unit


def validities(prepared: Prepared) -> list[Validity]:
    """Of every scorer in every language, against the experiment's labelled text; none without such text."""
    config = prepared.experiment.validity
    if config is None:
        return []
    labelled = Tables(prepared.store, {Unit("labelled", (code,)): key for code, key in prepared.labelled.items()})
    scores = Tables(prepared.store, prepared.plan.of_table("labelled_scores"))
    resampling = settings(prepared.experiment).resampling
    rows = []
    for scorer in prepared.scorers:
        for language in prepared.experiment.languages:
            row, _ = labelled_validity(
                labelled[language],
                scores[scorer.name, language],
                language,
                resampling,
                scorer=scorer.name,
                reference=data.reference(config),
                minimum=config.minimum,
            )
            rows.append(row)
    return rows


def evidence(prepared: Prepared, rows: Sequence[Validity]) -> Mapping[str, list[str]]:
    """Scorer -> languages that count in its macro means. Nothing for a scorer: all that it knows, because nothing was
    asked of it (no labelled text), or because the user says so (measure.macro: all)."""
    if prepared.experiment.measure.macro == "all" or not rows:
        return {}
    found: dict[str, list[str]] = {scorer.name: [] for scorer in prepared.scorers}
    for row in rows:
        if has_evidence(row):
            found[row.scorer].append(row.language)
    return found
