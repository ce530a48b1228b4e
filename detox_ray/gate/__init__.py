"""The gate: whether a finished run shows what its users ask for. Pass, fail or inconclusive, with reasons.

A spec (YAML, configs/gate.yaml) asks for less toxicity in so many languages, and for margins that no other metric may
leave. Overall: fail if any check fails, else inconclusive if any is, else pass. Pure: reads ``results.json`` as parsed.
"""

from detox_ray.gate.spec import Spec, read_spec
from detox_ray.gate.verdict import FAIL, INCONCLUSIVE, PASS, Verdict, figure, judge

__all__ = ["FAIL", "INCONCLUSIVE", "PASS", "Spec", "Verdict", "figure", "judge", "read_spec"]
