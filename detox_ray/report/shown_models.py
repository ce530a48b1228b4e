"""The models and comparisons that the report shows: models that differ only in their seed are shown as their mean."""

from detox_ray.report.content import ReportContent


def shown_models(content: ReportContent) -> list[str]:
    """Return the models in order, with a group of seeds in the place of its first model."""
    group_of = {model: label for label, models in content.seed_groups.items() for model in models}
    return list(dict.fromkeys(group_of.get(model, model) for model in content.models))


def shown_pairs(content: ReportContent) -> list[tuple[str, str]]:
    """Return (model, parent) in order. A seed's own comparison is shown only if its group has none with that parent."""
    group_of = {model: label for label, models in content.seed_groups.items() for model in models}
    names = zip(*(content.comparisons[column].to_pylist() for column in ("model", "parent")), strict=True)
    compared = set(names)
    pairs = [((group_of.get(model, model), parent), (model, parent)) for model, parent in content.compare]
    return list(dict.fromkeys(mean if mean in compared else pair for mean, pair in pairs))
