"""Chat templates, which are found in a model's files before anything is loaded."""

import json
from collections.abc import Mapping

from detox_ray.config import Experiment
from detox_ray.models import limits

TEMPLATE, TOKENIZER_CONFIG = "chat_template.jinja", "tokenizer_config.json"


def chat_templates(experiment: Experiment, commits: Mapping[str, str | None] | None = None) -> dict[str, str | None]:
    """Return the chat template of each model; None for a model without one.

    A trained model or an adapter has the template of the model from which it descends. A model without a file on this
    machine is left out.

    Args:
        experiment: The experiment.
        commits: The commits of models on the hub, if they are known.
    """
    templates: dict[str, str | None] = {}
    for name in experiment.models:
        origin = limits.root(experiment, name)
        model = experiment.models[origin]
        assert model.path is not None, "the root of a family has a path"
        revision = (commits or {}).get(origin) or model.revision
        if limits.files_of(model.path, revision) is not None:
            templates[name] = _template(model.path, revision)
    return templates


def _template(path: str, revision: str | None) -> str | None:
    if (file := limits.file_of(path, revision, TEMPLATE)) is not None:
        return file.read_text(encoding="utf-8")
    if (file := limits.file_of(path, revision, TOKENIZER_CONFIG)) is None:
        return None
    try:
        template = json.loads(file.read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None  # loading the tokenizer reports the problem
    if isinstance(template, list):  # several templates by name
        template = next((each.get("template") for each in template if each.get("name") == "default"), None)
    return template if isinstance(template, str) and template else None
