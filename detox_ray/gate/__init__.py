"""The gate: whether a tuned model shows what its users ask for. Pass, fail or inconclusive, with reasons.

Rules ask for less toxicity in so many languages, and for margins that no other metric may leave: in the mean over
languages, or in each language. Overall: fail if any rule fails, else inconclusive if any is, else pass. Pure: reads
``results.json`` as parsed. The report judges every tuned model by the experiment's own rules.
"""

from detox_ray.gate.finding import FAIL, INCONCLUSIVE, PASS, Finding, worst
from detox_ray.gate.rule_problems import rule_problems
from detox_ray.gate.spec import Spec, read_spec
from detox_ray.gate.verdict import Check, Verdict, judge, judge_all

__all__ = [
    "FAIL",
    "INCONCLUSIVE",
    "PASS",
    "Check",
    "Finding",
    "Spec",
    "Verdict",
    "judge",
    "judge_all",
    "read_spec",
    "rule_problems",
    "worst",
]
