"""The tables that stages exchange. A stage's own package may define more (`units.define`).

``language``, ``model`` and ``scorer`` of the big tables are Hive partition keys: they are part of the folder's name
(``generations/model=detox/language=fr/…parquet``) and not columns of the file. DuckDB, pandas, Polars and Spark read
such a folder as it is. The columns below are those of the files.
"""

import pyarrow as pa

from detox_ray.storage.units import define

PROMPTS = define(
    "prompts",
    ("language",),
    [
        pa.field("prompt_id", pa.string(), nullable=False),  # such as "fr-00012": language and row in the source
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # the reader's name
        pa.field("source_index", pa.string(), nullable=False),  # the row's index in the source, as text
        pa.field("annotations", pa.string()),  # the source's labels, as JSON text; null if it has none
    ],
)

PAIRS = define(
    "pairs",
    (),
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("chosen", pa.string(), nullable=False),  # continuation only, without the prompt
        pa.field("rejected", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
    ],
)

TEXTS = define(  # harmless held-out text, for perplexity
    "texts",
    ("language",),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ],
)

TRAIN, VALIDATION = "train", "validation"
CORPUS = define(  # texts to train on; `split` is VALIDATION in the source's own validation part, else TRAIN
    "corpus", (), TEXTS.columns.append(pa.field("split", pa.string(), nullable=False))
)
ORIGINALS = define("originals", (), CORPUS.columns)  # the texts from which those of CORPUS were rewritten

REFERENCE_LOGPS = define(  # log-probabilities of PAIRS under a parent, truncated and with special tokens as in training
    "reference_logps",
    ("model", "settings"),
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("chosen", pa.float64(), nullable=False),  # sum over the completion's tokens, nats
        pa.field("rejected", pa.float64(), nullable=False),
    ],
)

GENERATIONS = define(
    "generations",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),  # 0 … samples-1
        pa.field("text", pa.string(), nullable=False),  # completion only; may be empty
        pa.field("tokens", pa.int32(), nullable=False),  # generated tokens
        pa.field("finish_reason", pa.string(), nullable=False),  # "stop" (at the end token) or "length"
        # its own, with which it can be drawn again; with `generate.seeding: unit`, that of all the unit's completions
        pa.field("seed", pa.int64(), nullable=False),
    ],
)

# Statuses of a row of scores or likelihoods. A value is a result only if the status is "ok". An "empty" row of SCORES
# or FLUENCIES may also have a value; only a convention that counts empty completions reads it.
OK = "ok"
EMPTY = "empty"  # no text, or white space only
UNSUPPORTED = "unsupported_language"  # the scorer does not know this language
FAILED = "failed"  # the scorer raised an error, or returned something other than a number in [0, 1]
STATUSES = (OK, EMPTY, UNSUPPORTED, FAILED)
TOO_SHORT = "too_short"  # identifications only: too little text to identify its language

SCORES = define(
    "scores",
    ("scorer", "model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),  # "toxicity", "insult", …
        pa.field("value", pa.float64()),  # in [0, 1]; in an "empty" row, the score of its white space, or of " "
        pa.field("status", pa.string(), nullable=False),
    ],
)

LABELLED = define(  # texts that people (or the built-in world) judged, to measure the validity of scorers
    "labelled",
    ("language",),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),  # shared by texts that are resampled together
        pa.field("text", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # "prompt", "completion", …
        pa.field("grade", pa.float64(), nullable=False),  # on the source's scale; higher is more toxic
        pa.field("toxic", pa.bool_(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ],
)

LABELLED_SCORES = define(  # scores of LABELLED
    "labelled_scores",
    ("scorer", "language"),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)

IDENTIFICATIONS = define(  # the identified language of each completion
    "identifications",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("identified", pa.string()),  # a code, or "und"; null unless status is "ok"
        pa.field("confidence", pa.float64()),
        pa.field("lines", pa.int32(), nullable=False),  # lines that are long enough to be judged
        pa.field("wrong_lines", pa.int32(), nullable=False),  # those of them in another language
        pa.field("english_word", pa.bool_(), nullable=False),  # a text of another script has one; by a list or a rule
        pa.field("status", pa.string(), nullable=False),
    ],
)

# Likelihoods of a completion, given its prompt, under an evaluator. The nll columns are sums in nats. They are null
# unless the status is "ok", or "empty" for white space that the evaluator's tokenizer turns into tokens.
FLUENCIES = define(
    "fluencies",
    ("evaluator", "model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("prompt_tokens", pa.int32(), nullable=False),
        pa.field("prompt_nll", pa.float64()),
        pa.field("full_tokens", pa.int32(), nullable=False),  # prompt and completion
        pa.field("full_nll", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)

# n-gram counts of a completion among those of its prompt. The sum of distinct_n over a prompt's completions is the
# number of distinct n-grams in all of them, and novel / unigrams is a completion's novelty.
DIVERSITIES = define(
    "diversities",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("unigrams", pa.int64(), nullable=False),
        pa.field("bigrams", pa.int64(), nullable=False),
        pa.field("trigrams", pa.int64(), nullable=False),
        pa.field("distinct_1", pa.int64(), nullable=False),  # those that no earlier completion of the prompt contains
        pa.field("distinct_2", pa.int64(), nullable=False),
        pa.field("distinct_3", pa.int64(), nullable=False),
        pa.field("novel", pa.int64(), nullable=False),  # distinct units that the prompt does not contain
        pa.field("status", pa.string(), nullable=False),  # "empty" if there is no unit
    ],
)

LIKELIHOODS = define(  # likelihoods of TEXTS under a model
    "likelihoods",
    ("model", "language"),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),  # predicted tokens: all but the first
        pa.field("nll", pa.float64()),  # sum of negative log-likelihoods, nats; null unless status is "ok"
        pa.field("status", pa.string(), nullable=False),
    ],
)

METRICS = define(
    "metrics",
    (),
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # a code or "macro"
        pa.field("part", pa.string(), nullable=False),  # of what the metric covers ("gender"); "all": the whole
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("convention", pa.string(), nullable=False),
        pa.field("value", pa.float64()),  # null unless the status is "ok"
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),  # number of prompts (texts for perplexity); for macro, of languages
        pa.field("seeds", pa.int64(), nullable=False),  # number of models that the row averages; 1 for a single model
        pa.field("seed_std", pa.float64()),  # sample standard deviation between them; null for a single model
        pa.field("in_macro", pa.bool_(), nullable=False),  # counts in the macro mean; true for "macro" itself
        pa.field("status", pa.string(), nullable=False),  # "ok", or why there is no value
    ],
)

COMPARISONS = define(
    "comparisons",
    (),
    [
        pa.field("metric", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("parent", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("convention", pa.string(), nullable=False),
        pa.field("difference", pa.float64()),  # model minus parent
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("p_value", pa.float64()),
        pa.field("p_corrected", pa.float64()),  # over the languages of one metric; null for macro
        pa.field("ratio", pa.float64()),  # model / parent; null if the parent is 0
        pa.field("ratio_low", pa.float64()),
        pa.field("ratio_high", pa.float64()),
        pa.field("detectable", pa.float64()),  # smallest true difference that would be detected with 80 % power
        pa.field("n", pa.int64(), nullable=False),
        pa.field("seeds", pa.int64(), nullable=False),
        pa.field("seed_std", pa.float64()),  # sample standard deviation between the seeds' differences
        pa.field("in_macro", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ],
)

VALIDITY = define(  # how well a scorer agrees with labels in a language (measure/validity.py explains the columns)
    "validity",
    (),
    [
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("reference", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("n_toxic", pa.int64(), nullable=False),
        pa.field("auroc", pa.float64()),
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("average_precision", pa.float64()),
        pa.field("average_precision_low", pa.float64()),
        pa.field("average_precision_high", pa.float64()),
        pa.field("best_f1", pa.float64()),
        pa.field("best_f1_low", pa.float64()),
        pa.field("best_f1_high", pa.float64()),
        pa.field("best_f1_threshold", pa.float64()),
        pa.field("calibration_error", pa.float64()),
        pa.field("calibration_error_low", pa.float64()),
        pa.field("calibration_error_high", pa.float64()),
        pa.field("spearman", pa.float64()),
        pa.field("spearman_low", pa.float64()),
        pa.field("spearman_high", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)

AGREEMENTS = define(  # how well each pair of scorers agrees on completions (measure/agreement.py)
    "agreements",
    (),
    [
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("other", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("spearman", pa.float64()),
        pa.field("spearman_low", pa.float64()),
        pa.field("spearman_high", pa.float64()),
        pa.field("kappa", pa.float64()),
        pa.field("kappa_low", pa.float64()),
        pa.field("kappa_high", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)

STATUS_COUNTS = define(  # number of completions, texts or prompts per status
    "status_counts",
    (),
    [
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
    ],
)

# Folders that are committed like tables.
CHECKPOINTS = define("checkpoints", ("model",), None)
WORLDS = define("world", ("name",), None)
SCORERS = define("scorers", ("scorer",), None)  # files of the scorers that the user defines
REPORTS = define("report", ("name",), None)
