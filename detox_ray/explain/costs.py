"""Costs of the stage, for `detox-ray plan`."""

from detox_ray.cluster.costs import Cost, Workload
from detox_ray.config.explain import ExplainConfig
from detox_ray.explain.plan import parents_of

TOKENS_OF_A_TEXT = 64.0  # assumed, as for held-out text


def costs(work: Workload, command: str) -> list[Cost]:
    """Return a line for each kind of work and model."""
    experiment, config = work.experiment, work.experiment.explain
    assert config is not None
    parents = parents_of(experiment)
    languages = len(experiment.languages)
    length = work.sequence - experiment.generate.max_tokens + config.new_tokens  # of a prompt with its continuation
    lines = []
    for model in dict.fromkeys([*parents.values(), *parents]):
        # Continuations with a cache, then one pass for each text that is read.
        passes = 2 if model not in parents else 3
        tokens = passes * languages * config.prompts * length
        how = f"{languages} languages of {config.prompts} prompts, {passes} passes ({work.counted})"
        operations = tokens * work.forward(model, length)
        lines.append(work.computed(command, f"{model}: continuations and activations", tokens, operations, how))
        edits = _edits(config, tuned=model in parents)
        if edits:
            completions = edits * languages * config.edited_prompts * config.edited_samples
            texts = edits * languages * config.edited_texts
            tokens = completions * length + texts * TOKENS_OF_A_TEXT
            how = f"{edits} edits in {languages} languages: {completions:,} completions and {texts:,} texts"
            operations = tokens * work.forward(model, length)
            lines.append(work.computed(command, f"{model}: interventions", tokens, operations, how))
    for parent in dict.fromkeys(parents.values()):
        texts = config.probe.texts + work.labelled
        if config.parallel is not None:
            texts += 2 * languages * config.parallel.sentences
        tokens = texts * TOKENS_OF_A_TEXT
        operations = tokens * work.forward(parent, TOKENS_OF_A_TEXT)
        how = f"{texts:,} texts of {TOKENS_OF_A_TEXT:g} tokens at most"
        lines.append(work.computed(command, f"{parent}: probe and parallel sentences", tokens, operations, how))
    return lines


def _edits(config: ExplainConfig, tuned: bool) -> int:
    """Return how many edited models there are, those that change nothing among them."""
    if not tuned:
        return 0 if config.offsets is None else 1 + len(config.offsets.doses) * (1 + config.random)
    if config.transplants is None:
        return 0
    return 2 + len(config.transplants.directions) * len(config.transplants.sizes) * (1 + config.random)
