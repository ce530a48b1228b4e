"""A train block that stands for several models: seeds and sweeps."""

from typing import Any

import pytest

from detox_ray.config import ConfigError, Experiment
from detox_ray.config.loading import validate


def raw(**train: Any) -> dict[str, Any]:
    return {
        "name": "variants",
        "languages": ["en", "ar"],
        "data": {"prompts": {"source": "toy17"}, "pairs": {"source": "toy17"}, "corpus": {"source": "toy17"}},
        "models": {"base": {"path": "toy17"}, "detox": {"train": {"parent": "base", **train}}},
        "score": {"scorers": ["toy17-lexicon"]},
    }


def trained(experiment: Experiment) -> dict[str, Any]:
    return {name: model.train for name, model in experiment.models.items() if model.train}


def test_seeds_make_one_model_each_and_a_group_under_the_name_given() -> None:
    experiment = validate(raw(seeds=[0, 3]))
    assert {name: train.seed for name, train in trained(experiment).items()} == {"detox-seed0": 0, "detox-seed3": 3}
    assert experiment.seed_groups == {"detox": ["detox-seed0", "detox-seed3"]}
    assert experiment.sweeps == {}
    assert [(c.model, c.parent) for c in experiment.comparisons] == [("detox-seed0", "base"), ("detox-seed3", "base")]


def test_a_list_in_a_field_is_a_sweep_and_crosses_with_seeds() -> None:
    experiment = validate(raw(learning_rate=[1e-6, 1e-5], seeds=[0, 1]))
    assert {name: (train.learning_rate, train.seed) for name, train in trained(experiment).items()} == {
        "detox-learning_rate-1e-06-seed0": (1e-6, 0),
        "detox-learning_rate-1e-06-seed1": (1e-6, 1),
        "detox-learning_rate-1e-05-seed0": (1e-5, 0),
        "detox-learning_rate-1e-05-seed1": (1e-5, 1),
    }
    assert experiment.sweeps == {
        "detox": {
            "detox-learning_rate-1e-06": {"learning_rate": 1e-6},
            "detox-learning_rate-1e-05": {"learning_rate": 1e-5},
        }
    }
    assert list(experiment.seed_groups) == ["detox-learning_rate-1e-06", "detox-learning_rate-1e-05"]


def test_several_lists_make_every_combination_within_lora_too() -> None:
    experiment = validate(raw(tuning="lora", lora={"r": [4, 8], "dropout": 0.0}, data_fraction=[0.5, 1.0]))
    made = [(t.lora.r, t.lora.dropout, t.data_fraction) for t in trained(experiment).values()]
    assert sorted(made) == [(4, 0.0, 0.5), (4, 0.0, 1.0), (8, 0.0, 0.5), (8, 0.0, 1.0)]
    assert "detox-data_fraction-0.5-lora.r-4" in experiment.models


def test_fields_that_are_lists_by_nature_are_not_swept_unless_they_hold_lists() -> None:
    one = trained(validate(raw(trainable=["mlp", "norm"])))
    assert list(one) == ["detox"] and one["detox"].trainable == ["mlp", "norm"]
    two = trained(validate(raw(trainable=[["mlp"], ["norm", "attn"]])))
    assert [train.trainable for train in two.values()] == [["mlp"], ["norm", "attn"]]


def test_each_variant_takes_what_its_own_method_needs() -> None:
    dpo, sft = trained(validate(raw(method=["dpo", "sft"]))).values()
    assert (dpo.beta, dpo.loss, dpo.reference) == (0.1, "sigmoid", "cached")
    assert (sft.beta, sft.loss, sft.reference, sft.train_on) == (None, "nll", None, "pairs")


def test_the_resolved_experiment_reads_back_as_itself() -> None:
    experiment = validate(raw(beta=[0.1, 0.5], seeds=[0, 1]))
    import yaml

    assert validate(yaml.safe_load(experiment.to_yaml())) == experiment


@pytest.mark.parametrize(
    ("train", "field", "rule"),
    [
        ({"seeds": []}, "models.detox.train.seeds", "at least one"),
        ({"seeds": [1, 1]}, "models.detox.train.seeds", "once"),
        ({"beta": []}, "models.detox.train.beta", "at least one"),
        ({"beta": [0.1, -1.0]}, "models.detox-beta--1.train.beta", "greater than 0"),
        ({"seeds": [0], "seed": [1]}, "models.detox.train.seed", "seeds"),
    ],
)
def test_wrong_lists_are_named(train: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(raw(**train))
    assert [problem.field for problem in raised.value.problems] == [field]
    assert rule in raised.value.problems[0].rule


def test_a_name_that_a_variant_would_take_is_refused() -> None:
    given = raw(seeds=[0, 1])
    given["models"]["detox-seed0"] = {"path": "toy17"}
    with pytest.raises(ConfigError, match="detox-seed0: is also the name of a variant of detox"):
        validate(given)


def test_a_parent_that_stands_for_several_models_is_refused_by_name() -> None:
    given = raw(seeds=[0, 1])
    given["models"]["more"] = {"train": {"parent": "detox"}}
    with pytest.raises(ConfigError, match=r"models\.more\.train\.parent: .*detox-seed0"):
        validate(given)


def test_an_imported_checkpoint_is_compared_with_the_parent_it_names() -> None:
    given = raw()
    given["models"] = {"base": {"path": "toy17"}, "published": {"path": "org/detox", "parent": "base"}}
    experiment = validate(given)
    assert [(c.model, c.parent) for c in experiment.comparisons] == [("published", "base")]
    given["models"]["published"]["parent"] = "other"
    with pytest.raises(ConfigError, match=r"models\.published\.parent"):
        validate(given)


@pytest.mark.parametrize(
    ("train", "field"),
    [
        ({"method": "sft", "beta": 0.1}, "beta"),
        ({"method": "orpo", "reference": "cached"}, "reference"),
        ({"method": "kto", "batching": "length-grouped"}, "batching"),
        ({"loss": "aot", "batching": "length-grouped"}, "batching"),
        ({"loss": "simpo"}, "loss"),
        ({"method": "cpo", "simpo_gamma": 1.0}, "simpo_gamma"),
        ({"loss": "exo_pair"}, "label_smoothing"),
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing"),
        ({"method": "dpo", "train_on": "corpus"}, "train_on"),
        ({"tuning": "lora", "trainable": ["mlp"]}, "trainable"),
        ({"tuning": "lora", "merge_into": "4-bit"}, "merge_into"),
        ({"max_prompt_length": 64}, "max_prompt_length"),
        ({"recipe": "paper", "max_length": 64}, "max_prompt_length"),
        ({"batch_tokens": 128}, "batch_tokens"),
        ({"validation_fraction": 0.0, "evaluate_every": 5}, "evaluate_every"),
        ({"evaluate_every": None, "keep": "best"}, "keep"),
        ({"nvme_path": "/fast"}, "nvme_path"),
        ({"workers": 2, "min_workers": 3}, "min_workers"),
        ({"dtype": "bfloat16", "autocast": "float16"}, "autocast"),
    ],
)
def test_an_option_without_effect_or_sense_is_refused(train: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as raised:
        validate(raw(**train))
    assert [problem.field for problem in raised.value.problems] == [f"models.detox.train.{field}"]
