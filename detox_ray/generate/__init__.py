"""Generation: completions of every prompt by every model, by Ray Data over actors that each hold one engine.

Light on import: Ray, torch, vLLM and transformers are imported only where they are used.
"""

from detox_ray.generate.job import VERSION, check, job, plan, resolve_engine
from detox_ray.generate.seeds import prompt_seed

__all__ = ["VERSION", "check", "job", "plan", "prompt_seed", "resolve_engine"]
