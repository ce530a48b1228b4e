"""Generation: completions of every prompt by every model, by unit jobs whose actors each hold one engine.

Light on import: Ray, torch, vLLM and transformers are imported only where they are used.
"""

from detox_ray.generate.engines import resolve_engine
from detox_ray.generate.seeds import prompt_seed
from detox_ray.generate.stage import GenerateStage, check

__all__ = ["GenerateStage", "check", "prompt_seed", "resolve_engine"]
