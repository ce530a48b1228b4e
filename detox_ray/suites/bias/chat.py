"""The choice between chat templates and plain text for questions."""

from collections.abc import Mapping

from detox_ray.config import Experiment, Problem
from detox_ray.models.chat_templates import chat_templates


def uses_chat(experiment: Experiment, commits: Mapping[str, str | None] | None = None) -> bool:
    """Return whether questions are sent as a user message in the models' chat templates.

    The choice is the same for all models, so that both sides of a comparison get the same form.

    Args:
        experiment: An experiment with a bias block.
        commits: The commits of the models on the hub, if known.
    """
    config = experiment.bias
    assert config is not None
    if config.chat != "auto":
        return config.chat == "template"
    templates = chat_templates(experiment, commits)
    distinct = {templates.get(name) for name in experiment.models}
    return len(distinct) == 1 and None not in distinct


def chat_problems(experiment: Experiment) -> list[Problem]:
    """Return problems of ``chat: template``: models without a template, or compared models with different ones."""
    assert experiment.bias is not None
    if experiment.bias.chat != "template":
        return []
    templates = chat_templates(experiment)
    without = [name for name in experiment.models if name in templates and templates[name] is None]
    if without:
        rule = f"{', '.join(without)} {'has' if len(without) == 1 else 'have'} no chat template: set auto or none"
        return [Problem("bias.chat", "template", rule)]
    return [
        Problem("bias.chat", "template", f"{pair.model} and {pair.parent} have different chat templates: set none")
        for pair in experiment.comparisons
        if templates.get(pair.model) != templates.get(pair.parent)
    ]
