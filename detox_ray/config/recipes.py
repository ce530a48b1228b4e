"""The losses of each training method, and the recipes.

A recipe is a set of choices, like a convention in ``measure``: ``paper`` follows the two papers' scripts, and ``fast``
optimises the same objective in less time. Each choice can also be set by itself.
"""

from typing import Any

# Method -> its losses, by TRL's names; the first is the default.
LOSSES: dict[str, tuple[str, ...]] = {
    "dpo": (
        "sigmoid",
        "hinge",
        "ipo",
        "exo_pair",
        "nca_pair",
        "robust",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sigmoid_norm",
    ),
    "sft": ("nll",),
    "kto": ("kto", "apo_zero_unpaired"),
    "orpo": ("odds-ratio",),
    "cpo": ("sigmoid", "hinge", "ipo", "simpo"),
}
# Losses that are a mean over pairs, so that a step may group its pairs in any way.
GROUPABLE = {"dpo": set(LOSSES["dpo"]) - {"aot", "aot_unpaired"}}
LABEL_SMOOTHING = {("dpo", loss) for loss in ("exo_pair", "robust", "aot", "aot_unpaired")}
LABEL_SMOOTHING |= {("cpo", loss) for loss in ("sigmoid", "simpo")}
NEEDS_SMOOTHING = {("dpo", "exo_pair"), ("dpo", "robust")}  # at 0, exo_pair is undefined and robust equals sigmoid

# Each recipe's choices, for the methods that have them.
RECIPES: dict[str, dict[str, Any]] = {
    "paper": {
        "bos": "always",
        "loss_on": "text",
        "length_filter": "characters",
        "truncation": "prompt-first",
        "max_prompt_length": 64,
        "reference": "live",
        "batching": "padded",
        "validation_limit": None,
    },
    "fast": {
        "bos": "tokenizer",
        "loss_on": "completion",
        "length_filter": "tokens",
        "truncation": "end",
        "reference": "cached",
        "batching": "length-grouped",
        "validation_limit": 256,
    },
}
