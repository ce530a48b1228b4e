"""The cluster block: what asks for more than it is refused before anything starts; vLLM's options are checked."""

from typing import Any

import pytest

from detox_ray.config import ConfigError, GenerateConfig
from detox_ray.config.loading import validate
from detox_ray.generate.stage import check
from detox_ray.models import vllm_options


def experiment(**fields: Any) -> Any:
    raw = {
        "name": "mine",
        "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}},
        "models": {"base": {"path": "toy17"}, "detox": {"train": {"parent": "base", "workers": 4}}},
        "score": {"scorers": ["toy17-lexicon"]},
    }
    return validate(raw | fields)


def problems(**fields: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        experiment(**fields)
    return {problem.field: problem.rule for problem in caught.value.problems}


def test_an_engine_larger_than_a_node_is_refused_with_the_way_out() -> None:
    found = problems(generate={"tensor_parallel": 16}, cluster={"gpus": 16, "gpus_per_node": 8})
    assert list(found) == ["generate.tensor_parallel"]
    assert "pipeline_parallel" in found["generate.tensor_parallel"]
    asked = experiment(
        generate={"tensor_parallel": 8, "pipeline_parallel": 2}, cluster={"gpus": 16, "gpus_per_node": 8}
    )
    assert asked.generate.gpus_per_engine == 16


def test_work_that_needs_more_gpus_than_are_asked_for_is_refused() -> None:
    found = problems(generate={"tensor_parallel": 2, "pipeline_parallel": 2}, cluster={"gpus": 2})
    assert list(found) == ["generate.tensor_parallel", "models.detox.train.workers"]
    assert experiment(cluster={"gpus": 0}).cluster.gpus == 0


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("max_num_batched_token", "did you mean max_num_batched_tokens?"),
        ("trust_remote_code", "is set by detox_ray"),
        ("hf_token", "is set by detox_ray"),
        ("tensor_parallel_size", "or by another field"),
    ],
)
def test_arguments_that_vllm_does_not_know_or_that_are_not_the_users_are_refused(name: str, rule: str) -> None:
    if vllm_options.version() is None:
        pytest.skip("vLLM is not installed")
    (problem,) = check(GenerateConfig(engine="vllm", engine_args={name: 1}))
    assert problem.field == f"generate.engine_args.{name}"
    assert rule in problem.rule
    assert check(GenerateConfig(engine="vllm", engine_args={"max_num_batched_tokens": 4096})) == []


def test_options_of_vllm_are_refused_with_another_engine() -> None:
    found = check(GenerateConfig(engine="transformers", pipeline_parallel=2, kv_cache_dtype="fp8"))
    assert [problem.field for problem in found] == ["generate.pipeline_parallel", "generate.kv_cache_dtype"]


def test_a_context_without_room_for_a_prompt_is_refused() -> None:
    assert list(problems(generate={"max_tokens": 20, "max_model_len": 20})) == ["generate.max_model_len"]
