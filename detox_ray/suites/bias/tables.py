"""The stage's tables."""

import pyarrow as pa

from detox_ray.storage import define


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


# Roles of options.
STEREOTYPE, ANTI, UNRELATED = "stereotype", "anti", "unrelated"  # of sentences
TARGET, OTHER, UNKNOWN = "target", "other", "unknown"  # of answers: the stereotyped group, the other one, neither
AMBIGUOUS, DISAMBIGUATED = "ambig", "disambig"
NEGATIVE, NONNEGATIVE = "neg", "nonneg"

# What a status of an option can be beside "ok" and "failed".
EMPTY, TOO_LONG = "empty", "too_long"
UNDETECTED = "undetected"  # status of an answer in words that names no option

BIAS_ITEMS = define(
    "bias_items",
    ("set", "language"),
    [
        _required("item_id", pa.string()),
        _required("cluster", pa.string()),  # what is drawn together, by the same name in every language
        _required("part", pa.string()),  # bias type or subset
        _required("condition", pa.string()),  # of a question: "ambig" or "disambig"; "" of sentences
        _required("polarity", pa.string()),  # of a question: "neg" or "nonneg"; "" of sentences
        _required("control", pa.bool_()),  # a question about names instead of groups
        _required("direction", pa.string()),  # of a pair: "stereo" or "antistereo"; "" if the set has none
        pa.field("context", pa.string()),  # of a question; null of sentences
        pa.field("question", pa.string()),
        _required("options", pa.list_(pa.string())),
        _required("roles", pa.list_(pa.string())),
        pa.field("label", pa.int32()),  # place of the right answer; null of sentences
        _required("source_index", pa.string()),
    ],
)

OPTION_LIKELIHOODS = define(  # of an item's options, as whole texts; nats
    "option_likelihoods",
    ("set", "model", "language"),
    [
        _required("item_id", pa.string()),
        _required("option", pa.int32()),
        _required("tokens", pa.int32()),  # of the whole text, with what the tokenizer puts before it
        _required("given", pa.int32()),  # of these, not predicted: that prefix, or else the first token
        pa.field("nll", pa.float64()),  # of all but the given tokens; null unless status is "ok"
        _required("shared_tokens", pa.int32()),  # at the beginning, that all options of the item have in common
        pa.field("shared_nll", pa.float64()),  # of these without the given ones
        pa.field("first_nll", pa.float64()),  # of the first token after the first id of "<|endoftext|>"
        _required("status", pa.string()),
    ],
)

ITEMS = "items"
BIAS_OUTCOMES = define(  # what a convention makes of a model's choices
    "bias_outcomes",
    ("set", "model", "language"),
    [
        _required("metric", pa.string()),  # ITEMS: how many items have a status, which stands in "status"
        _required("convention", pa.string()),
        _required("part", pa.string()),
        _required("cluster", pa.string()),  # "" if there is no value
        _required("numerator", pa.float64()),
        _required("denominator", pa.float64()),
        pa.field("point", pa.float64()),  # the part's value as a script rounds it on the way; null: the plain ratio
        _required("status", pa.string()),
    ],
)
