"""Generation: every model completes every prompt, in unit jobs whose actors hold one engine each.

Importing this package imports none of Ray, torch, vLLM and transformers.
"""

from detox_ray.generate.engines import resolve_engine
from detox_ray.generate.seeds import prompt_seed
from detox_ray.generate.stage import GenerateStage, check

__all__ = ["GenerateStage", "check", "prompt_seed", "resolve_engine"]
