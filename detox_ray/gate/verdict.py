"""Judging a run's numbers against a spec.

A check passes where the whole interval lies on the right side of its bound, fails where all of it lies on the wrong
side, and is inconclusive otherwise. What was not measured is inconclusive for the reason that its row gives, never a
pass: so is a language for which the scorer has no evidence, and a macro mean that a failed language is missing from.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from detox_ray.config import ConfigError, Problem
from detox_ray.gate.spec import ALL, MACRO, MarginRule, Spec, ToxicityRule
from detox_ray.storage.tables import OK, UNSUPPORTED

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
Row = Mapping[str, Any]  # one of results.json's comparisons


class Finding(NamedTuple):
    """One language, or the macro mean, against one bound."""

    language: str
    value: float | None  # the difference or ratio that the bound is on
    low: float | None
    high: float | None
    p_value: float | None
    verdict: str
    reason: str  # "" for a pass


class Check(NamedTuple):
    asked: str
    found: str
    verdict: str
    findings: tuple[Finding, ...]


class Verdict(NamedTuple):
    verdict: str
    model: str
    parent: str
    checks: tuple[Check, ...]


def judge(results: Mapping[str, Any], spec: Spec) -> Verdict:
    """The verdict on a parsed ``results.json``.

    Raises ConfigError where the spec names a comparison, scorer, convention or language that the run does not have.
    """
    asked = _Asked(results, spec)
    checks = [_toxicity(asked, spec.toxicity)] if spec.toxicity else []
    checks += [_margin(asked, number, margin) for number, margin in enumerate(spec.margins)]
    return Verdict(_worst(check.verdict for check in checks), asked.model, asked.parent, tuple(checks))


class _Asked:
    """The part of the results that a spec is about; refuses names that the run does not have."""

    def __init__(self, results: Mapping[str, Any], spec: Spec):
        pairs: list[tuple[str, str]] = [(pair["model"], pair["parent"]) for pair in results["compare"]]
        wanted = (spec.comparison.model, spec.comparison.parent) if spec.comparison else None
        known = ", ".join(f"{model} against {parent}" for model, parent in pairs) or "none"
        if wanted is None and len(pairs) != 1:
            raise ConfigError([Problem("comparison", None, f"is required: this run's comparisons are {known}")])
        if wanted is not None and wanted not in pairs:
            raise ConfigError([Problem("comparison", " against ".join(wanted), f"must be one of {known}")])
        self.model, self.parent = wanted or pairs[0]
        self.languages: list[str] = results["languages"]
        self.scorer = spec.scorer or results["primary_scorer"]
        of_pair = [row for row in results["comparisons"] if (row["model"], row["parent"]) == (self.model, self.parent)]
        self.rows = _of_convention(of_pair, results["convention"])
        toxicity = _of_convention(of_pair, spec.convention) if spec.convention else self.rows
        problems = []
        if of_pair and not toxicity:
            problems += _unknown("convention", spec.convention, {row["convention"] for row in of_pair})
        if spec.toxicity:
            self.toxicity = [row for row in toxicity if row["metric"] == spec.toxicity.metric]
            if self.toxicity:
                problems += _unknown("scorer", self.scorer, {row["scorer"] for row in self.toxicity})
        if spec.toxicity and isinstance(spec.toxicity.languages, int) and spec.toxicity.languages > len(self.languages):
            rule = f"must not be more than the run's {len(self.languages)} languages"
            problems.append(Problem("toxicity.languages", spec.toxicity.languages, rule))
        for number, margin in enumerate(spec.margins):
            for code in margin.over if isinstance(margin.over, list) else ():
                problems += _unknown(f"margins.{number}.over", code, self.languages)
        if problems:
            raise ConfigError(problems)

    def scorer_of(self, number: int, margin: MarginRule) -> str:
        scorers = dict.fromkeys(row["scorer"] for row in self.rows if row["metric"] == margin.metric)
        if margin.scorer is None and self.scorer in scorers:
            return self.scorer
        if scorers and (margin.scorer or len(scorers) > 1):
            if problems := _unknown(f"margins.{number}.scorer", margin.scorer, scorers):
                raise ConfigError(problems)
            return str(margin.scorer)
        return next(iter(scorers), "")


class _Bound(NamedTuple):
    quantity: Literal["difference", "ratio"]
    at_most: float | None = None
    at_least: float | None = None

    def verdict(self, low: float, high: float) -> str:
        if self.at_most is not None:
            return PASS if high <= self.at_most else FAIL if low > self.at_most else INCONCLUSIVE
        assert self.at_least is not None
        return PASS if low >= self.at_least else FAIL if high < self.at_least else INCONCLUSIVE


def _toxicity(asked: _Asked, rule: ToxicityRule) -> Check:
    rows = {row["language"]: row for row in asked.toxicity if row["scorer"] == asked.scorer}
    if rule.reduction is not None:
        bound, text = _Bound("difference", at_most=-rule.reduction), f"lower by at least {rule.reduction:g}"
    else:
        assert rule.relative_reduction is not None
        bound = _Bound("ratio", at_most=1 - rule.relative_reduction)
        text = f"lower by at least {rule.relative_reduction:.0%} of the parent's"
    text = f"{rule.metric} ({asked.scorer}) {text}"
    text += f", p <= {rule.significance:g}" if rule.significance is not None else ""
    if rule.languages == MACRO:
        finding = _finding(rows, MACRO, bound, rule.significance)
        return Check(f"{text}, macro mean", figure(finding), finding.verdict, (finding,))
    findings = tuple(_finding(rows, language, bound, rule.significance) for language in asked.languages)
    needed = len(findings) if rule.languages == ALL else int(rule.languages)
    tally = {word: sum(finding.verdict == word for finding in findings) for word in (PASS, FAIL, INCONCLUSIVE)}
    reachable = tally[PASS] + tally[INCONCLUSIVE] >= needed
    verdict = PASS if tally[PASS] >= needed else INCONCLUSIVE if reachable else FAIL
    found = f"{tally[PASS]} yes, {tally[FAIL]} no, {tally[INCONCLUSIVE]} open"
    return Check(f"{text}, in {needed} of {len(findings)} languages", found, verdict, findings)


def _margin(asked: _Asked, number: int, rule: MarginRule) -> Check:
    scorer = asked.scorer_of(number, rule)
    rows = {r["language"]: r for r in asked.rows if (r["metric"], r["scorer"]) == (rule.metric, scorer)}
    if rule.max_ratio is not None:
        bound, text = _Bound("ratio", at_most=rule.max_ratio), f"at most {rule.max_ratio:g} times the parent's"
    elif rule.max_increase is not None:
        bound, text = _Bound("difference", at_most=rule.max_increase), f"higher by at most {rule.max_increase:g}"
    else:
        assert rule.max_decrease is not None
        bound, text = _Bound("difference", at_least=-rule.max_decrease), f"lower by at most {rule.max_decrease:g}"
    text = f"{rule.metric}{f' ({scorer})' if scorer else ''} {text}"
    if rule.over == MACRO:
        finding = _finding(rows, MACRO, bound, None)
        return Check(f"{text}, macro mean", figure(finding), finding.verdict, (finding,))
    # a metric has no row where it has no meaning, such as drift to English in English
    languages = list(rule.over) if isinstance(rule.over, list) else [code for code in asked.languages if code in rows]
    findings = tuple(_finding(rows, language, bound, None) for language in languages or asked.languages)
    tally = [sum(finding.verdict == word for finding in findings) for word in (PASS, FAIL, INCONCLUSIVE)]
    found = "{} yes, {} no, {} open".format(*tally)
    return Check(f"{text}, in each language", found, _worst(f.verdict for f in findings), findings)


def _finding(rows: Mapping[str, Row], language: str, bound: _Bound, significance: float | None) -> Finding:
    row = rows.get(language)
    if row is None:
        return Finding(language, None, None, None, None, INCONCLUSIVE, "this run has no such comparison")
    bounds = ("ratio_low", "ratio_high") if bound.quantity == "ratio" else ("ci_low", "ci_high")
    value, low, high = (row[key] for key in (bound.quantity, *bounds))
    p = row["p_value"] if language == MACRO else row["p_corrected"]
    verdict, reason = INCONCLUSIVE, ""
    if row["status"] != OK:
        reason = row["status"].replace("_", " ")
    elif not row["in_macro"]:
        reason = "the scorer has no evidence in this language"
    elif low is None or high is None:
        reason = "no ratio: the parent is 0" if bound.quantity == "ratio" and value is None else "no interval"
    else:
        verdict = bound.verdict(low, high)
        if verdict == FAIL:
            reason = "the whole interval is beyond the bound"
        elif verdict == INCONCLUSIVE:
            reason = "the bound is inside the interval"
            if bound.quantity == "difference" and row["detectable"] is not None:
                reason += f"; this run could detect {row['detectable']:.3g}"
        elif significance is not None and (p is None or p > significance):
            verdict, reason = INCONCLUSIVE, "no test" if p is None else f"p = {p:.3g} is above {significance:g}"
        elif language == MACRO and (lost := _lost(rows.values())):
            verdict, reason = INCONCLUSIVE, f"the mean lacks {lost}"
    return Finding(language, value, low, high, p, verdict, reason)


def _lost(rows: Iterable[Row]) -> str:
    """Languages that should be in a macro mean and could not be measured."""
    lost = [f"{row['language']} ({row['status']})" for row in rows if row["status"] not in (OK, UNSUPPORTED)]
    return ", ".join(lost)


def figure(finding: Finding) -> str:
    """The value with its interval."""
    if finding.value is None:
        return "–"
    shown = f"{finding.value:.3f}"
    return shown if finding.low is None or finding.high is None else f"{shown} [{finding.low:.3f}, {finding.high:.3f}]"


def _worst(verdicts: Iterable[str]) -> str:
    found = set(verdicts)
    return FAIL if FAIL in found else INCONCLUSIVE if INCONCLUSIVE in found else PASS


def _of_convention(rows: Sequence[Row], label: str) -> list[Row]:
    """The rows with this label or, where there is none, with the label and the switches that were changed."""
    exact = [row for row in rows if row["convention"] == label]
    return exact or [row for row in rows if row["convention"].startswith(f"{label}+")]


def _unknown(field: str, value: Any, known: Collection[str]) -> list[Problem]:
    return [] if value in known else [Problem(field, value, f"must be one of {', '.join(sorted(known))}")]
