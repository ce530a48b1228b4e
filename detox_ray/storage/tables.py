"""The tables that cross a stage's border. A stage's own package may define more (`units.define`).

``language``, ``model`` and ``scorer`` of the big tables are Hive partition keys: they stand in the folder's name
(``generations/model=detox/language=fr/…parquet``) and not in the file, so that DuckDB, pandas, Polars and Spark read
the folder as it is. The columns below are those of the files.
"""

import pyarrow as pa

from detox_ray.storage.units import define

PROMPTS = define(
    "prompts",
    ("language",),
    [
        pa.field("prompt_id", pa.string(), nullable=False),  # "fr-00012": language and row in the source
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),  # the reader's name
        pa.field("source_index", pa.string(), nullable=False),  # the source's own index, as text
        pa.field("annotations", pa.string()),  # the source's labels, as JSON text; null where it has none
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
CORPUS = define(  # to train on; VALIDATION: the source's own part
    "corpus", (), TEXTS.columns.append(pa.field("split", pa.string(), nullable=False))
)
ORIGINALS = define("originals", (), CORPUS.columns)  # what the texts of CORPUS were rewritten from

REFERENCE_LOGPS = define(  # of PAIRS under a parent, as a training sees them: cut, with its special tokens
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
        pa.field("finish_reason", pa.string(), nullable=False),  # "stop" (end token) or "length"
        pa.field("seed", pa.int64(), nullable=False),
    ],
)

# What a score or likelihood row's status can be. A value is a result only where the status is "ok"; an "empty" row of
# SCORES or FLUENCIES may carry one beside, which only a convention that counts such completions reads.
OK = "ok"
EMPTY = "empty"  # no text, or white space only
UNSUPPORTED = "unsupported_language"  # the scorer does not know this language
FAILED = "failed"  # the scorer raised or gave something that is not a number in [0, 1]
STATUSES = (OK, EMPTY, UNSUPPORTED, FAILED)
TOO_SHORT = "too_short"  # identifications only: not enough text to tell its language

SCORES = define(
    "scores",
    ("scorer", "model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),  # "toxicity", "insult", …
        pa.field("value", pa.float64()),  # in [0, 1]; of an "empty" row, the score of its white space (of " " if none)
        pa.field("status", pa.string(), nullable=False),
    ],
)

LABELLED = define(  # texts that people (or the built-in world) judged, to validate scorers with
    "labelled",
    ("language",),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("cluster", pa.string(), nullable=False),  # texts that belong together (a prompt and its completion)
        pa.field("text", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # "prompt", "completion", …
        pa.field("grade", pa.float64(), nullable=False),  # as the source grades, higher is more toxic
        pa.field("toxic", pa.bool_(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ],
)

LABELLED_SCORES = define(  # what a scorer says of LABELLED
    "labelled_scores",
    ("scorer", "language"),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("status", pa.string(), nullable=False),
    ],
)

IDENTIFICATIONS = define(  # which language a completion is in
    "identifications",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("identified", pa.string()),  # a code, or "und"; null unless status is "ok"
        pa.field("confidence", pa.float64()),
        pa.field("lines", pa.int32(), nullable=False),  # long enough to be judged
        pa.field("wrong_lines", pa.int32(), nullable=False),
        pa.field("english_word", pa.bool_(), nullable=False),  # in a text of another script; by a list or a rule
        pa.field("status", pa.string(), nullable=False),
    ],
)

# Of a completion given its prompt under an evaluator. nll: sums, nats; null unless "ok", or "empty" of white space that
# the evaluator's tokenizer makes tokens of.
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

# Of a completion among its prompt's. The sum of distinct_n over a prompt's completions is the number of distinct
# n-grams that they hold together, and novel / unigrams is a completion's novelty.
DIVERSITIES = define(
    "diversities",
    ("model", "language"),
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("unigrams", pa.int64(), nullable=False),
        pa.field("bigrams", pa.int64(), nullable=False),
        pa.field("trigrams", pa.int64(), nullable=False),
        pa.field("distinct_1", pa.int64(), nullable=False),  # that no completion of the prompt before it holds
        pa.field("distinct_2", pa.int64(), nullable=False),
        pa.field("distinct_3", pa.int64(), nullable=False),
        pa.field("novel", pa.int64(), nullable=False),  # distinct units that the prompt does not have
        pa.field("status", pa.string(), nullable=False),  # "empty": no unit
    ],
)

LIKELIHOODS = define(  # of TEXTS under a model
    "likelihoods",
    ("model", "language"),
    [
        pa.field("text_id", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),  # tokens predicted (the first is given)
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
        pa.field("value", pa.float64()),  # null where status says why
        pa.field("ci_low", pa.float64()),
        pa.field("ci_high", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),  # prompts (texts for perplexity); for macro, languages
        pa.field("seeds", pa.int64(), nullable=False),  # models of which the row is the mean; 1 for a model's own
        pa.field("seed_std", pa.float64()),  # between them, sample standard deviation; null for a model's own
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
        pa.field("ratio", pa.float64()),  # model over parent; null where the parent is 0
        pa.field("ratio_low", pa.float64()),
        pa.field("ratio_high", pa.float64()),
        pa.field("detectable", pa.float64()),  # smallest true difference found four times in five
        pa.field("n", pa.int64(), nullable=False),
        pa.field("seeds", pa.int64(), nullable=False),
        pa.field("seed_std", pa.float64()),  # between the seeds' differences
        pa.field("in_macro", pa.bool_(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
    ],
)

VALIDITY = define(  # how far a scorer can be believed in a language (measure/validity.py says what the columns are)
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

AGREEMENTS = define(  # of each pair of scorers, on completions (measure/agreement.py)
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

STATUS_COUNTS = define(  # completions, texts or prompts that ended with a status
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
SCORERS = define("scorers", ("scorer",), None)  # files of the user's own scorers
REPORTS = define("report", ("name",), None)
