"""The ``train`` block of a model: how it is trained from its parent.

A recipe fills in the choices that a block does not state (recipes.py). An option that would have no effect is rejected.
"""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from detox_ray.config.base import ConfigError, Name, Problem, Strict, distinct
from detox_ray.config.recipes import GROUPABLE, LABEL_SMOOTHING, LOSSES, NEEDS_SMOOTHING, RECIPES

Method = Literal["dpo", "sft", "kto", "orpo", "cpo"]
Recipe = Literal["paper", "fast"]
Tracker = Literal["tensorboard", "wandb", "mlflow"]
METHODS: tuple[str, ...] = get_args(Method)
TEXTS = ("corpus", "originals")  # of `train_on`


class LoraConfig(Strict):
    """An adapter. The defaults are those of Li et al. 2024, Table 6."""

    r: int = Field(64, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    # all-linear: every linear layer but the head (Neplenbroek et al. 2025); li2024: Li et al.'s list for the model's
    # family, with embedding and head if theirs has them (docs/papers.md, "Training by Li et al."); or names of
    # modules
    target_modules: Literal["all-linear", "li2024"] | Annotated[list[str], Field(min_length=1)] = "all-linear"


class TrainConfig(Strict):
    """The training of a model from its parent. Defaults are those of Li et al. 2024, Table 6, if it states them."""

    parent: Name
    method: Method = "dpo"
    loss: str | None = None  # TRL's name of the method's loss; null: the method's first (LOSSES)
    recipe: Recipe = "fast"
    tuning: Literal["full", "lora", "qlora"] = "full"  # qlora: 4-bit nf4 weights, double quantisation; GPU only
    lora: LoraConfig | None = None  # only with tuning: lora or qlora; null there means the defaults
    # qlora: what the adapter is merged into: the parent's own weights, or their 4-bit rounding, which Neplenbroek et
    # al. 2025 save (docs/papers.md, "Training by Neplenbroek et al."); null: the parent's own
    merge_into: Literal["parent", "4-bit"] | None = None
    # full tuning: regular expressions; only parameters whose name one of them matches are trained; null: all
    trainable: list[str] | None = None

    # Data
    # sft only: the chosen completions of data.pairs, the texts of data.corpus, or the originals that those texts were
    # rewritten from; null: pairs
    train_on: Literal["pairs", "corpus", "originals"] | None = None
    data_fraction: float = Field(1.0, gt=0, le=1)  # use only the first rows, this share of all; Li et al.'s train_perc
    # text between prompt and completion; a space for sft in docs/papers.md, "Training by Neplenbroek et al."
    separator: str = ""
    # always: a prompt to which the tokenizer adds no prefix gets the begin token, if there is one, and a prompt that is
    # cut by truncation: prompt-first loses its prefix (TRL 0.8.6, which Li et al. used); tokenizer: the tokenizer's own
    # prefix is kept and nothing is added, as in generation
    bos: Literal["always", "tokenizer"] | None = None
    # sft on pairs: the tokens that are learned: of prompt and completion (docs/papers.md, "Training by Neplenbroek et
    # al."), or of the completion only
    loss_on: Literal["text", "completion"] | None = None
    max_length: int = Field(256, ge=8)  # tokens of prompt and completion
    # characters: leave out pairs in which prompt and completion together have more than max_length characters, as the
    # script of Li et al. does (docs/papers.md, "Training by Li et al."); tokens: leave out pairs in which the prompt
    # alone fills max_length
    length_filter: Literal["characters", "tokens"] | None = None
    # prompt-first: cut the start of an over-long pair's prompt down to max_prompt_length, then the end of the
    # completion (TRL 0.8.6: docs/papers.md, "Training by Li et al."); end: cut the end of the pair
    truncation: Literal["prompt-first", "end"] | None = None
    max_prompt_length: int | None = Field(None, ge=1)  # tokens; only with truncation: prompt-first
    # sft on a corpus: what happens to the part of a text beyond max_length: cut: it is dropped; chunks: it becomes
    # further rows
    overflow: Literal["cut", "chunks"] | None = None
    # train on the first N rows of the training part only, in the split's order; with overflow: chunks, on the first N
    # chunks, as in docs/papers.md, "Training by Neplenbroek et al."; null: all
    train_limit: int | None = Field(None, ge=1)
    validation_fraction: float = Field(0.05, ge=0, lt=1)  # share of the rows that is held out for validation
    validation_limit: int | None = Field(None, ge=1)  # evaluate only the first N rows of the validation part; null: all
    # seed of the validation split, which is the same for every training seed (docs/papers.md, "Training by Li et al.")
    split_seed: int = Field(0, ge=0, lt=2**31)

    # Objective
    beta: float | None = Field(None, gt=0)  # null: 0.1; sft has none
    # null: 0 for the losses that have it (exo_pair, robust, aot and aot_unpaired of dpo; sigmoid and simpo of cpo)
    label_smoothing: float | None = Field(None, ge=0, lt=0.5)
    # dpo: weight of the mean negative log-likelihood of the chosen completions, which is added to the loss
    # (docs/papers.md, "DPO with the likelihood of the chosen completion"); null: 0
    sft_weight: float | None = Field(None, ge=0)
    cpo_alpha: float | None = Field(None, ge=0)  # cpo: weight of the likelihood term; null: 1
    simpo_gamma: float | None = Field(None, ge=0)  # cpo with loss: simpo: the target margin; null: 0.5
    desirable_weight: float | None = Field(None, gt=0)  # kto; null: 1
    undesirable_weight: float | None = Field(None, gt=0)  # kto; null: 1

    # Optimisation
    optimizer: Literal["rmsprop", "adamw"] = "rmsprop"
    learning_rate: float = Field(1e-5, gt=0)
    scheduler: Literal["constant_with_warmup", "linear", "cosine"] = "constant_with_warmup"
    warmup_steps: int = Field(150, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(10.0, gt=0)
    epochs: float = Field(5, gt=0)
    max_steps: int | None = Field(None, ge=1)  # optimizer steps; overrides epochs
    batch_size: int = Field(4, ge=1)  # rows per worker and accumulation step
    gradient_accumulation: int = Field(1, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the weights
    autocast: Literal["float16", "bfloat16"] | None = None  # precision of the arithmetic on float32 weights; GPU only
    gradient_checkpointing: bool = False
    # dpo: live: a reference model (or the model without its adapter) runs beside the policy; cached: the reference's
    # log-probabilities are computed once and kept in the run's folder
    reference: Literal["live", "cached"] | None = None
    # padded: rows in the order in which they are drawn, padded to the longest of a batch; length-grouped: the same rows
    # per step, in groups of similar length with at most batch_tokens
    batching: Literal["padded", "length-grouped"] | None = None
    batch_tokens: int | None = Field(None, ge=64)  # padded tokens of a group; null: 8,192; only with length-grouped

    # Evaluation and early stopping
    evaluate_every: int | None = Field(25, ge=1)  # optimizer steps; null: at the end only
    early_stopping: int | None = Field(10, ge=1)  # evaluations without a lower validation loss; null: never stop early
    keep: Literal["best", "last"] = "best"  # the checkpoint with the lowest validation loss, or the last one

    # Where and how long; without influence on the result
    workers: int = Field(1, ge=1)
    min_workers: int | None = Field(None, ge=1)  # elastic: training continues with this many if no more are available
    resources_per_worker: dict[str, float] | None = None  # null: one GPU if the cluster has GPUs, else one CPU
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"  # of workers over nodes
    deepspeed: str = "zero2"  # zero0 … zero3, or the path of a DeepSpeed JSON
    offload: Literal["optimizer", "parameters"] | None = None  # to the CPU's memory; parameters: the optimizer, too
    nvme_path: str | None = None  # local folder on every node to offload to instead of the CPU's memory
    max_failures: int = Field(2, ge=0)  # how many losses of a worker the training survives; lost nodes do not count
    checkpoint_every: int = Field(25, ge=1)  # optimizer steps
    tracking: Annotated[list[Tracker], AfterValidator(distinct)] = Field(["tensorboard"])
    seed: int | None = Field(None, ge=0, lt=2**31)  # null: the experiment's

    @model_validator(mode="before")
    @classmethod
    def _fill_from_recipe(cls, given: Any) -> Any:
        """Fill in the choices that are not given: from the recipe, then from the method."""
        if not isinstance(given, dict):
            return given
        choices = (given.get("recipe", "fast"), given.get("method", "dpo"), given.get("loss") or "")
        if not all(isinstance(choice, str) for choice in choices) or choices[0] not in RECIPES:
            return given  # the fields' own validation reports it
        method, filled = given.get("method", "dpo"), dict(given)
        loss = given.get("loss") or (LOSSES.get(method) or [None])[0]
        on_pairs = method != "sft" or given.get("train_on", "pairs") in ("pairs", None)
        # The recipe's choices, if they apply to the method.
        for name, choice in RECIPES[given.get("recipe", "fast")].items():
            applies = {
                "bos": method != "sft",
                "loss_on": method == "sft" and on_pairs,
                "length_filter": on_pairs,
                "truncation": on_pairs,
                "max_prompt_length": on_pairs and filled.get("truncation") == "prompt-first",
                "reference": method == "dpo",
                "batching": method == "dpo",
            }.get(name, True)
            if name == "batching" and loss not in GROUPABLE.get(method, ()):
                choice = "padded"
            if applies and name not in given:
                filled[name] = choice
        # Defaults that depend on the method and on other fields.
        defaults = {
            "loss": loss,
            "train_on": "pairs" if method == "sft" else None,
            "overflow": None if on_pairs else "cut",
            "beta": None if method == "sft" else 0.1,
            "sft_weight": 0.0 if method == "dpo" else None,
            "cpo_alpha": 1.0 if method == "cpo" else None,
            "simpo_gamma": 0.5 if (method, loss) == ("cpo", "simpo") else None,
            "desirable_weight": 1.0 if method == "kto" else None,
            "undesirable_weight": 1.0 if method == "kto" else None,
            "label_smoothing": 0.0 if (method, loss) in LABEL_SMOOTHING - NEEDS_SMOOTHING else None,
            "batch_tokens": 8192 if filled.get("batching") == "length-grouped" else None,
            "merge_into": "parent" if given.get("tuning") == "qlora" else None,
        }
        for name, value in defaults.items():
            if filled.get(name) is None and value is not None:
                filled[name] = value
        # Without evaluations there is no best checkpoint, and no early stopping.
        if not given.get("validation_fraction", 0.05):
            for name in ("evaluate_every", "early_stopping"):
                filled.setdefault(name, None)
            filled.setdefault("keep", "last")
        if "evaluate_every" in given and given["evaluate_every"] is None:
            filled.setdefault("early_stopping", None)
            filled.setdefault("keep", "last")
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        adapter, pairs = self.tuning != "full", self.method != "sft" or self.train_on == "pairs"
        dpo, cpo, kto = (self.method == method for method in ("dpo", "cpo", "kto"))
        evaluated = self.evaluate_every is not None and self.validation_fraction > 0
        loss = (self.method, self.loss)
        # field -> (whether it may be set, what it needs)
        needs: dict[str, tuple[bool, str]] = {
            "lora": (adapter, "needs tuning: lora or qlora"),
            "merge_into": (self.tuning == "qlora", "needs tuning: qlora"),
            "trainable": (not adapter, "needs tuning: full"),
            "train_on": (self.method == "sft", "needs method: sft; the others learn from pairs"),
            "bos": (self.method != "sft", "has no effect on sft, which takes the tokenizer's special tokens"),
            "loss_on": (self.method == "sft" and pairs, "needs method: sft and train_on: pairs"),
            "length_filter": (pairs, "needs training on pairs"),
            "truncation": (pairs, "needs training on pairs"),
            "max_prompt_length": (self.truncation == "prompt-first", "needs truncation: prompt-first"),
            "overflow": (not pairs, "needs train_on: corpus or originals"),
            "beta": (self.method != "sft", "has no effect on sft"),
            "sft_weight": (dpo, "needs method: dpo"),
            "cpo_alpha": (cpo, "needs method: cpo"),
            "simpo_gamma": (loss == ("cpo", "simpo"), "needs method: cpo with loss: simpo"),
            "desirable_weight": (kto, "needs method: kto"),
            "undesirable_weight": (kto, "needs method: kto"),
            "label_smoothing": (loss in LABEL_SMOOTHING, f"has no effect on the loss {self.loss} of {self.method}"),
            "reference": (dpo, "needs method: dpo"),
            "batching": (dpo, "needs method: dpo"),
            "batch_tokens": (self.batching == "length-grouped", "needs batching: length-grouped"),
            "evaluate_every": (self.validation_fraction > 0, "needs a validation_fraction above 0"),
            "early_stopping": (evaluated, "needs evaluate_every and a validation_fraction above 0"),
            "nvme_path": (self.offload is not None, "needs offload"),
        }
        problems = [
            Problem(name, getattr(self, name), rule)
            for name, (may, rule) in needs.items()
            if not may and getattr(self, name) is not None
        ]
        # Combinations of fields.
        if self.loss not in LOSSES[self.method]:
            known = ", ".join(LOSSES[self.method])
            problems.append(Problem("loss", self.loss, f"must be one of {self.method}'s losses: {known}"))
        elif dpo and self.batching == "length-grouped" and self.loss not in GROUPABLE["dpo"]:
            rule = f"must be padded for the loss {self.loss}, which compares all rows of a batch"
            problems.append(Problem("batching", self.batching, rule))
        if loss in NEEDS_SMOOTHING and not self.label_smoothing:
            problems.append(Problem("label_smoothing", self.label_smoothing, f"must be above 0 for {self.loss}"))
        if loss == ("kto", "kto") and self.batch_size == 1:
            problems.append(Problem("batch_size", 1, "kto needs 2 or more: its KL term comes from other rows"))
        if self.keep == "best" and not evaluated:
            rule = "best needs evaluate_every and a validation_fraction above 0"
            problems.append(Problem("keep", self.keep, rule))
        if self.truncation == "prompt-first" and (self.max_prompt_length or self.max_length) >= self.max_length:
            rule = f"must be below max_length ({self.max_length}) with truncation: prompt-first"
            problems.append(Problem("max_prompt_length", self.max_prompt_length, rule))
        if self.batch_tokens is not None and self.batch_tokens < 2 * self.max_length:
            rule = f"must hold one pair: at least twice max_length ({2 * self.max_length})"
            problems.append(Problem("batch_tokens", self.batch_tokens, rule))
        if self.autocast is not None and self.dtype != "float32":
            problems.append(Problem("autocast", self.autocast, "needs dtype: float32"))
        if self.min_workers is not None and self.min_workers > self.workers:
            problems.append(Problem("min_workers", self.min_workers, f"must not exceed workers ({self.workers})"))
        for pattern in self.trainable or ():
            try:
                re.compile(pattern)
            except re.error as error:
                problems.append(Problem("trainable", pattern, f"is not a regular expression: {error}"))
        if problems:
            raise ConfigError(problems)
        return self
