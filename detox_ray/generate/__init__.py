"""Generation: every model completes every prompt, in unit jobs with one engine per actor.

Importing this package does not import Ray, torch, vLLM or transformers.
"""

from detox_ray.generate.engines import resolve_engine
from detox_ray.generate.seeds import prompt_seed
from detox_ray.generate.stage import GenerateStage, check

__all__ = ["GenerateStage", "check", "prompt_seed", "resolve_engine"]
