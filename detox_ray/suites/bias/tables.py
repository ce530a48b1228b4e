"""The tables of the bias stages."""

import pyarrow as pa

from detox_ray.storage import define


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


# Roles of an item's options.
STEREOTYPE, ANTI, UNRELATED = "stereotype", "anti", "unrelated"  # roles of sentences
TARGET, OTHER, UNKNOWN = "target", "other", "unknown"  # roles of answers; the target is the stereotyped group
AMBIGUOUS, DISAMBIGUATED = "ambig", "disambig"
NEGATIVE, NONNEGATIVE = "neg", "nonneg"

# Statuses of an option besides "ok" and "failed".
EMPTY, TOO_LONG = "empty", "too_long"
UNDETECTED = "undetected"  # status of an answer in words that names no option

BIAS_ITEMS = define(
    "bias_items",
    ("set", "language"),
    [
        _required("item_id", pa.string()),
        _required("cluster", pa.string()),  # items that are resampled together; the same name in every language
        _required("part", pa.string()),  # bias type or subset
        _required("condition", pa.string()),  # of a question: "ambig" or "disambig"; "" for sentences
        _required("polarity", pa.string()),  # of a question: "neg" or "nonneg"; "" for sentences
        _required("control", pa.bool_()),  # whether the question is about names instead of groups
        _required("direction", pa.string()),  # of a pair: "stereo" or "antistereo"; "" if the set has none
        pa.field("context", pa.string()),  # of a question; null for sentences
        pa.field("question", pa.string()),
        _required("options", pa.list_(pa.string())),
        _required("roles", pa.list_(pa.string())),
        pa.field("label", pa.int32()),  # index of the correct answer; null for sentences
        _required("source_index", pa.string()),
    ],
)

OPTION_LIKELIHOODS = define(  # of an item's options as complete texts, in nats
    "option_likelihoods",
    ("set", "model", "language"),
    [
        _required("item_id", pa.string()),
        _required("option", pa.int32()),
        _required("tokens", pa.int32()),  # tokens of the complete text, with those that the tokenizer puts before it
        _required("given", pa.int32()),  # tokens not predicted: the tokenizer's prefix, or else the first token
        pa.field("nll", pa.float64()),  # of all tokens but the given ones; null unless status is "ok"
        _required("shared_tokens", pa.int32()),  # leading tokens that all options of the item have in common
        pa.field("shared_nll", pa.float64()),  # of the shared tokens without the given ones
        pa.field("first_nll", pa.float64()),  # of the first token after the first id of "<|endoftext|>"
        _required("status", pa.string()),
    ],
)

ITEMS = "items"
BIAS_OUTCOMES = define(  # outcomes of a model's choices by a convention
    "bias_outcomes",
    ("set", "model", "language"),
    [
        _required("metric", pa.string()),  # ITEMS: the number of items with the status in the column "status"
        _required("convention", pa.string()),
        _required("part", pa.string()),
        _required("cluster", pa.string()),  # "" if there is no value
        _required("numerator", pa.float64()),
        _required("denominator", pa.float64()),
        pa.field("point", pa.float64()),  # the part's value as rounded by a script; null: the plain ratio
        _required("status", pa.string()),
    ],
)
