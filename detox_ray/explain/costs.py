"""Costs and memory of the explain stage, for `detox-ray plan`."""

from detox_ray.cluster.costs import Cost, DeviceMemory, Workload
from detox_ray.config.explain import ExplainConfig
from detox_ray.explain.plan import edited_generation, parents_of
from detox_ray.explain.planned_edits import offset_edits, transplant_edits
from detox_ray.generate.engines import resolve_engine

NEURON_BYTES = 4 + 4 + 4 + 1  # for a neuron at a position: its value, the value in float32, its square, and its sign
TOKENS_OF_A_TEXT = 64.0  # assumed, as for held-out texts


def costs(work: Workload, command: str) -> list[Cost]:
    """Return the cost of each kind of work for each model."""
    experiment, config = work.experiment, work.experiment.explain
    assert config is not None
    parents = parents_of(experiment)
    languages = len(experiment.languages)
    length = work.sequence - experiment.generate.max_tokens + config.new_tokens  # of a prompt and its continuation
    lines = []
    for model in dict.fromkeys([*parents.values(), *parents]):
        # Continuations use a cache; each text that is read takes one pass, and so does the residual stream.
        passes = 3 if model not in parents else 4
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


def memory(work: Workload, command: str) -> list[DeviceMemory]:
    """Return the memory of a device for each model: weights, keys and values of a batch, and the neurons of one layer.

    Neurons are summed one layer at a time, in float32 beside the model's own numbers: their values, the squares and
    the signs. Transplants on transformers hold the parent, too. What the scorer of edited models' completions holds is
    not counted.
    """
    experiment, config = work.experiment, work.experiment.explain
    assert config is not None
    parents = parents_of(experiment)
    on_vllm = resolve_engine(edited_generation(experiment)).name == "vllm"  # one engine at a time
    spread = f"{config.gpus_per_model} devices" if config.gpus_per_model > 1 else "one device"
    held = []
    for model in dict.fromkeys([*parents.values(), *parents]):
        read = config.batch_tokens * work.mlp_width(model) * NEURON_BYTES
        both = model in parents and config.transplants is not None and not on_vllm
        weights = work.weights(model) + (work.weights(parents[model]) if both else 0)
        size = (weights + work.cache(model, config.batch_tokens)) // config.gpus_per_model + read
        kept = "weights of model and parent (transplants)" if both else "weights"
        how = f"{kept} and keys and values of {config.batch_tokens:,} tokens, over {spread}; neurons of one layer"
        advice = "a larger one, a higher explain.gpus_per_model" + (", or explain.transplants: null" if both else "")
        held.append(DeviceMemory(command, model, size, work.device_bytes, how, advice))
    return held


def _edits(config: ExplainConfig, tuned: bool) -> int:
    """Return the number of edited models, the unchanged one included."""
    if config.offsets is None and config.transplants is None:
        return 0
    return 1 + len(transplant_edits(config) if tuned else offset_edits(config))
