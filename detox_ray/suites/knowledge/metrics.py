"""The knowledge metrics: shares of questions that are answered correctly."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from detox_ray.storage.metric_spec import ALL, ClusterSums, MetricInput, MetricSpec
from detox_ray.storage.tables import OK
from detox_ray.suites.knowledge.tables import ANSWERS

FIRST_OF_TIES = "neplenbroek2025"  # the convention that, like lm_eval, takes the first of equally likely options


def with_ties_shared(row: Mapping[str, Any]) -> float | None:
    """Return whether a question is answered correctly; among k equally likely options, the correct one counts 1/k.

    lm_eval takes the first of them. In bfloat16, the letters of options are often equally likely.
    """
    correct: float | None = row["correct"]
    nlls, gold = row["option_nlls"], row["gold"]
    if correct is None or nlls is None or gold is None or correct != float(row["chosen"] == gold):
        return correct  # the answer is not chosen by likelihood, or the metric is not the accuracy
    likeliest = [nll == min(nlls) for nll in nlls]
    return likeliest[gold] / sum(likeliest)


def shares(column: str, given: MetricInput) -> Mapping[str, ClusterSums]:
    """Return the share of correct answers for all questions and for each larger part, if the task has parts.

    Each question is a cluster. Models are compared on the questions that both answered.
    """
    wanted = ["question", "groups", "correct", "correct_norm", "option_nlls", "chosen", "gold", "status"]
    rows = given.tables[ANSWERS.name].select(wanted).to_pylist()
    if column == "correct" and given.convention.split("+")[0] != FIRST_OF_TIES:
        rows = [{**row, column: with_ties_shared(row)} for row in rows]
    if column != "correct" and all(row[column] is None for row in rows):
        return {}
    counts = Counter(row["status"] for row in rows)
    sums: dict[str, dict[str, tuple[float, int]]] = {ALL: {}}
    for row in rows:
        if row["status"] != OK or row[column] is None:
            continue
        for part in (ALL, *row["groups"]):
            right, asked = sums.setdefault(part, {}).get(row["question"], (0.0, 0))
            sums[part][row["question"]] = right + row[column], asked + 1
    if not sums[ALL]:
        reason = max(
            (status for status in counts if status != OK), key=lambda status: counts[status], default="missing"
        )
        return {ALL: ClusterSums(status=reason, counts=counts if column == "correct" else {})}
    return {
        part: ClusterSums(
            list(by_question),
            np.array([right for right, _ in by_question.values()]),
            np.array([float(asked) for _, asked in by_question.values()]),
            counts=counts if part == ALL and column == "correct" else {},
        )
        for part, by_question in sums.items()
    }


ACCURACY = MetricSpec(
    name="knowledge_accuracy",
    title="Accuracy",
    version=2,  # equally likely options share the answer
    meaning="share of questions answered correctly",
    short="Accuracy",
    kind="knowledge",
    direction="higher",
    unit="share of questions",
    change="points",
    series_title="{title} in {scorer}",
    needs=(ANSWERS,),
    compute=partial(shares, "correct"),
    parallel=True,
    exact=True,
)
NORMALISED = replace(
    ACCURACY,
    name="knowledge_accuracy_norm",
    title="Accuracy by likelihood per character",
    meaning="share of questions whose correct option is the likeliest for its length",
    short="Accuracy, normed",
    compute=partial(shares, "correct_norm"),
)
SPECS = (ACCURACY, NORMALISED)
