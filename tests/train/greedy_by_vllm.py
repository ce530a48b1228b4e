"""Greedy tokens of several models by vLLM, one after another: a program, so that tests pay vLLM's import once.

Standard input: {"models": {name: [folder, [[token, …], …]]}, "tokens": n}. Last line of output: {name: [[token, …]]}.
"""

import json
import sys
from pathlib import Path

from detox_ray.models import vllm_options


def know(folder: str) -> None:
    """vLLM looks at a class that it has not imported in a process of its own, for ten seconds: not to touch the GPU."""
    from vllm import ModelRegistry

    for architecture in json.loads((Path(folder) / "config.json").read_text())["architectures"]:
        ModelRegistry.register_model(architecture, ModelRegistry.models[architecture].load_model_cls())


def main() -> None:
    given = json.load(sys.stdin)
    answers = {}
    for name, (folder, prompts) in given["models"].items():
        made = vllm_options.arguments(
            folder,
            {"revision": None},
            "float32",
            64,
            tensor_parallel=1,
            gpu_memory_utilization=0.5,
            cpu_kv_cache_gb=1,
        )
        know(folder)
        from vllm import LLM, SamplingParams, TokensPrompt

        llm = LLM(**made)
        sampling = SamplingParams(temperature=0, max_tokens=given["tokens"], ignore_eos=True, detokenize=False)
        outputs = llm.generate([TokensPrompt(prompt_token_ids=ids) for ids in prompts], sampling, use_tqdm=False)
        answers[name] = [list(output.outputs[0].token_ids) for output in outputs]
        vllm_options.end(llm)
        print(name, file=sys.stderr)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
