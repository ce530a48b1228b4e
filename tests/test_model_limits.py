"""Settings that ask for more tokens than a model takes are refused when the config is read."""

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizers import FORMS, save, tokenizer

from detox_ray.cli.exit_codes import COMMITTED, exit_codes
from detox_ray.config import ConfigError, Experiment, InputError
from detox_ray.config.loading import validate
from detox_ray.models import limits
from detox_ray.models.limits import ModelFiles
from detox_ray.run.pipeline import ray_if

TRAIN = {"parent": "base", "max_length": 64, "learning_rate": 1e-4}


def experiment(path: str, max_tokens: int = 20, **models: Any) -> Experiment:
    return validate(
        {
            "name": "x",
            "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17", "language": "en"}},
            "models": {"base": {"path": path}, **models},
            "generate": {"max_tokens": max_tokens},
            "score": {"scorers": ["toy17-lexicon"]},
        }
    )


def said(of: Experiment) -> list[tuple[str, Any, str]]:
    return [problem[:3] for problem in limits.problems(of, limits.read(of))]


def test_toy17_takes_512_tokens_and_its_children_too() -> None:
    asked = experiment("toy17", 512, detox={"train": TRAIN})
    rule = "must be at most 511: base, detox take 512 tokens here, of prompt and completion together"
    assert said(asked) == [("generate.max_tokens", 512, rule)]
    assert said(experiment("toy17", 511, detox={"train": TRAIN})) == []


def test_completions_of_every_stage_must_fit() -> None:
    asked = experiment("toy17").model_dump(mode="json", exclude_unset=True)
    asked["ability"] = {"prompts": {"source": "toy17"}, "max_tokens": 600}
    asked["explain"] = {"new_tokens": 700}
    fields = [(field, value) for field, value, _ in said(validate(asked))]
    assert fields == [("ability.max_tokens", 600), ("explain.new_tokens", 700)]


@pytest.mark.parametrize("name", ["nothing", "bos", "GLM"])
def test_the_prefix_and_one_token_of_the_prompt_must_fit(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    save(tmp_path, tokenizer(form), positions=128)
    most = 128 - len(form.prefix) - 1
    assert said(experiment(str(tmp_path), most)) == []
    ((field, value, rule),) = said(experiment(str(tmp_path), most + 1))
    assert (field, value) == ("generate.max_tokens", most + 1)
    assert rule.startswith(f"must be at most {most}: base takes 128 tokens here")


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"model_type": "gpt2"}, 1024),  # its family's default
        ({"model_type": "gpt2", "n_positions": 64}, 64),
        ({"model_type": "bloom", "seq_length": 32}, 32),
        ({"model_type": "xlnet"}, 2048),
        ({"model_type": "llama", "max_position_embeddings": 131_072}, 4096),
        ({"model_type": "of tomorrow", "max_position_embeddings": 99}, 99),
    ],
)
def test_limits_are_read_as_the_engine_reads_them(config: dict[str, Any], context: int) -> None:
    asked = experiment("org/model", context)
    (problem,) = limits.problems(asked, {"base": ModelFiles(config, None)})
    assert problem.rule.startswith(f"must be at most {context - 1}: base takes {context} tokens")
    assert limits.problems(experiment("org/model", context - 1), {"base": ModelFiles(config, None)}) == []


def test_a_model_that_is_not_here_is_held_to_what_an_engine_takes_at_most() -> None:
    assert said(experiment("org/not-cached-anywhere", 4095)) == []
    ((_, _, rule),) = said(experiment("org/not-cached-anywhere", 4096))
    assert rule.startswith("must be at most 4095: base takes 4096 tokens here")


def test_max_length_is_held_to_the_positions_of_the_model_from_which_training_begins(tmp_path: Path) -> None:
    save(tmp_path, tokenizer(FORMS["bos"]), positions=128)
    grandchild = {"detox": {"train": TRAIN}, "more": {"train": {**TRAIN, "parent": "detox", "max_length": 129}}}
    rule = "must be at most 128, the number of positions of base"
    assert said(experiment(str(tmp_path), **grandchild)) == [("models.more.train.max_length", 129, rule)]
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": -1}))
    assert said(experiment(str(tmp_path), **grandchild)) == []


def test_an_adapter_takes_what_its_parent_takes(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    asked = experiment("toy17", 512, theirs={"path": str(tmp_path), "parent": "base"})
    ((_, _, rule),) = said(asked)
    assert "base, theirs take 512 tokens" in rule


@pytest.mark.parametrize("error", [InputError("x: wrong"), ConfigError([])])
def test_a_mistake_found_during_the_work_does_not_say_that_nothing_was_started(
    error: InputError, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer import Exit

    with pytest.raises(Exit) as raised, exit_codes(), ray_if(False, False):
        raise error
    assert raised.value.exit_code == 2
    printed = capsys.readouterr().err
    assert COMMITTED in printed and "nothing was started" not in printed
