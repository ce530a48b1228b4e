"""The tables of the explain stage.

A list in a row has one entry for each neuron of a layer, in order, unless its comment says otherwise. ``model`` is the
tuned model, unless a comment says that the table is of a parent.
"""

import pyarrow as pa

from detox_ray.storage import define

NONE, OFFSET = "none", "offset"  # interventions


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


_NUMBERS, _COUNTS = pa.list_(pa.float64()), pa.list_(pa.int64())

PROBES = define(  # of a parent: how well a probe separates toxic texts from harmless ones
    "probes",
    ("model",),
    [
        _required("method", pa.string()),
        _required("source", pa.string()),  # "labelled", "pairs" or "stored"
        _required("language", pa.string()),
        _required("split", pa.string()),  # "train", "validation" (of its own texts) or "labelled"
        # "none"; "shuffled": the mean and the range of probes of shuffled labels; "length": tokens alone
        _required("control", pa.string()),
        # the block whose input states are read; null: the probe itself (explain.probe.layer names its states)
        pa.field("layer", pa.int32()),
        _required("n", pa.int64()),
        _required("n_toxic", pa.int64()),
        pa.field("auroc", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("average_precision", pa.float64()),
        _required("status", pa.string()),
        pa.field("weights", _NUMBERS),  # (D,), in the probe's own row of split "train"; null in other rows
        pa.field("bias", pa.float64()),
    ],
)

NEURONS = define(  # of a parent: the value vectors nearest to the probe, with random partners
    "neurons",
    ("model",),
    [
        _required("rank", pa.int32()),  # rank of the candidate, from 0
        _required("draw", pa.int32()),  # 0: the candidate itself; 1 and higher: its partner in that matched draw
        _required("layer", pa.int32()),
        _required("neuron", pa.int32()),
        _required("cosine", pa.float64()),
        _required("norm", pa.float64()),
        _required("tokens", pa.list_(pa.string())),  # the tokens that the vector writes, strongest first
        _required("token_scores", _NUMBERS),
        pa.field("token_languages", pa.list_(pa.list_(pa.string()))),  # languages in which it insults; null: no lexicon
    ],
)

PROJECTIONS = define(  # of parent and tuned model: projections of all value vectors on the parent's probe
    "projections",
    ("model",),
    [
        _required("layer", pa.int32()),
        _required("projection", _NUMBERS),
        _required("norm", _NUMBERS),
    ],
)

CONTINUATIONS = define(  # of parent and tuned model: greedy continuations as token ids
    "continuations",
    ("model", "language"),
    [
        _required("prompt_id", pa.string()),
        _required("prompt", pa.list_(pa.int32())),
        _required("tokens", pa.list_(pa.int32())),
    ],
)

ACTIVATIONS = define(  # text "own": the model's own continuations; "same": the parent's. One row per layer
    "activations",
    ("text", "model", "language"),
    [
        _required("layer", pa.int32()),
        _required("steps", pa.int64()),
        _required("sum", _NUMBERS),
        _required("sum_squares", _NUMBERS),
        _required("positive", _COUNTS),  # number of steps in which a neuron's activation is above 0
        _required("chosen", pa.list_(pa.int32())),  # candidates and their partners in this layer
        _required("prompt_ids", pa.list_(pa.string())),
        _required("prompt_steps", _COUNTS),
        _required("prompt_sums", pa.list_(_NUMBERS)),  # for each prompt, one number for each neuron of ``chosen``
    ],
)

SOURCES = define(  # of a parent: the candidates with their activation in English
    "sources",
    ("model",),
    [
        _required("rank", pa.int32()),
        _required("layer", pa.int32()),
        _required("neuron", pa.int32()),
        _required("cosine", pa.float64()),
        _required("mean", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        _required("sd", pa.float64()),
        _required("positive_share", pa.float64()),
        _required("source", pa.bool_()),
    ],
)

SOURCE_ACTIVATIONS = define(  # mean activation of the parent's sources
    "source_activations",
    ("text", "model", "language"),
    [
        _required("prompt_id", pa.string()),
        _required("steps", pa.int64()),
        _required("value", pa.float64()),  # mean over sources of the mean over steps
        _required("random", _NUMBERS),  # the same for each matched draw
        # the two columns above, in units of each neuron's standard deviation on the parent's English continuations
        _required("value_in_sd", pa.float64()),
        _required("random_in_sd", _NUMBERS),
        _required("active", pa.float64()),  # share of sources whose mean over all prompts is above 0 in the language
    ],
)

LANGUAGE_OVERLAPS = define(  # of a parent: overlap of the neurons that write most toxicity in two languages
    "language_overlaps",
    ("model",),
    [
        _required("language", pa.string()),
        _required("other", pa.string()),
        _required("neurons", pa.int64()),  # number of neurons chosen in each language
        _required("jaccard", pa.float64()),
        _required("chance", pa.float64()),  # the overlap if activations are shuffled among the neurons of each layer
    ],
)

RESIDUAL_STATES = define(  # of parent and tuned model, on the parent's prompts: mean state before each MLP
    "residual_states",
    ("model", "language"),
    [
        _required("layer", pa.int32()),
        _required("state", _NUMBERS),  # (D,)
        _required("status", pa.string()),  # "ok", or "block_input": the block's MLP and attention read the same state
    ],
)

RESIDUAL_SHIFTS = define(  # the change of RESIDUAL_STATES by tuning
    "residual_shifts",
    ("model", "language"),
    [
        _required("layer", pa.int32()),
        _required("norm", pa.float64()),
        _required("relative", pa.float64()),  # size relative to the norm of the parent's state
        _required("cosine", pa.float64()),  # cosine of the shift with the probe
        _required("status", pa.string()),
    ],
)

CONTRIBUTIONS = define(  # the change along the probe by neuron, on the parent's text. One row per layer
    "contributions",
    ("model", "language"),
    [
        _required("layer", pa.int32()),
        _required("activation", _NUMBERS),
        _required("value", _NUMBERS),
        _required("interaction", _NUMBERS),
        _required("group", pa.list_(pa.string())),
    ],
)

INTERVENTIONS = define(  # outcomes of edited models, one row per prompt or text; one unit per edit (`planned_edits`)
    "interventions",
    ("model", "edit"),
    [
        _required("language", pa.string()),
        _required("intervention", pa.string()),  # NONE, OFFSET, or a transplant: "into-parent", "into-model"
        _required("draw", pa.int32()),  # 0: the chosen neurons; 1 and higher: a matched draw
        _required("amount", pa.float64()),  # dose of an offset, or number of neurons of a transplant; 0 for "none"
        _required("edited", pa.string()),  # the model to which the edit is applied
        _required("quantity", pa.string()),  # "toxicity" or "language" of completions, "nll" of harmless text
        _required("item_id", pa.string()),  # prompt_id or text_id
        _required("total", pa.float64()),  # sum of scores, number of completions in the prompt's language, or nats
        _required("count", pa.int64()),  # number of judged completions, or of tokens
    ],
)

ALIGNMENTS = define(  # of a parent: alignment of parallel sentences with English
    "alignments",
    ("model", "language"),
    [
        _required("sentence_id", pa.int32()),
        pa.field("aligned_cosine", pa.float64()),  # null in English, like the columns below
        pa.field("mismatched_cosine", pa.float64()),
        pa.field("centred_cosine", pa.float64()),
        pa.field("retrieval", pa.float64()),
        pa.field("centred_retrieval", pa.float64()),
        _required("tokens", pa.list_(pa.int32())),
    ],
)

PREDICTORS = define(  # of a parent: predictors of transfer
    "predictors",
    ("model",),
    [
        _required("language", pa.string()),
        _required("predictor", pa.string()),
        pa.field("value", pa.float64()),
        _required("n", pa.int64()),  # number of sentences; 0 for a value that is given
        _required("status", pa.string()),
    ],
)

CORRELATIONS = define(
    "correlations",
    ("model",),
    [
        _required("parent", pa.string()),
        _required("predictor", pa.string()),
        _required("target", pa.string()),  # measure of the fall in mean toxicity: "relative", "log-ratio" or "log-odds"
        _required("method", pa.string()),  # "spearman" or "pearson"
        pa.field("value", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("p_corrected", pa.float64()),  # Holm over the predictors of one target and method
        pa.field("loo_low", pa.float64()),
        pa.field("loo_high", pa.float64()),
        pa.field("partial", pa.float64()),  # partial correlation given the parent's toxicity
        pa.field("detectable", pa.float64()),
        pa.field("reliability", pa.float64()),
        _required("n", pa.int64()),
        _required("status", pa.string()),
    ],
)

ALL = (
    PROBES,
    NEURONS,
    PROJECTIONS,
    CONTINUATIONS,
    ACTIVATIONS,
    SOURCES,
    SOURCE_ACTIVATIONS,
    LANGUAGE_OVERLAPS,
    RESIDUAL_STATES,
    RESIDUAL_SHIFTS,
    CONTRIBUTIONS,
    INTERVENTIONS,
    ALIGNMENTS,
    PREDICTORS,
    CORRELATIONS,
)
