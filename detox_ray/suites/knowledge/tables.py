"""The tables of the knowledge stage."""

import pyarrow as pa

from detox_ray.storage.units import define

# The questions of a ready task whose files are on this machine; shards are slices of them.
QUESTIONS = define(
    "knowledge_questions",
    ("task", "language"),
    [
        pa.field("split", pa.string(), nullable=False),  # lm_eval's name: "test", or "dev" for examples
        pa.field("document", pa.string(), nullable=False),  # the question as in its file, as JSON
    ],
)

TASK_FILES = define("knowledge_task_files", ("task", "language"), None)  # the folder of a user's task

ANSWERS = define(
    "knowledge_answers",
    ("task", "model", "language"),
    [
        pa.field("question", pa.string(), nullable=False),  # id in the task, or a hash of the content
        pa.field("row", pa.int64(), nullable=False),  # index of the question in its task
        pa.field("part", pa.string(), nullable=False),  # subject; "all" if the task has none
        pa.field("groups", pa.list_(pa.string()), nullable=False),  # larger parts to which the question belongs
        pa.field("option_nlls", pa.list_(pa.float64())),  # of each option, in nats; null for free-text answers
        pa.field("option_bytes", pa.list_(pa.int32())),  # UTF-8
        pa.field("chosen", pa.int32()),  # index of the likeliest option
        pa.field("gold", pa.int32()),
        pa.field("correct", pa.float64()),  # by the task's first metric; null unless status is "ok"
        pa.field("correct_norm", pa.float64()),  # by acc_norm; null if the task has no such metric
        pa.field("status", pa.string(), nullable=False),  # "ok", "too_long" or "failed"
    ],
)

TOO_LONG = "too_long"  # the question with its examples exceeds the model's context; it is never truncated
