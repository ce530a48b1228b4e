"""Which outputs of a classifier are toxicity: known by their labels' names, said by the user, or asked."""

import pytest

from detox_ray.config import InputError
from detox_ray.score.label_mapping import Output, is_multi_label, labels_of, outputs_of
from detox_ray.score.variants.classifier import ClassifierConfig


def wanted(attributes: object) -> ClassifierConfig:
    return ClassifierConfig.model_validate({"name": "c", "type": "classifier", "path": "p", "attributes": attributes})


@pytest.mark.parametrize(
    ("labels", "multi", "toxic"),
    [
        (["neutral", "toxic"], False, (1,)),
        (["toxic", "not-toxic"], False, (0,)),
        (["HATE", "NOT-HATE"], False, (0,)),
        (["nothate", "hate"], False, (1,)),
        (["NonHate", "Hate Speech"], False, (1,)),
        (["LABEL_0", "LABEL_1"], False, (1,)),
        (["Hate-Speech", "other"], False, (0,)),
        (["not_insult", "insult"], False, (1,)),
        (["hate-speech", "offensive-language", "neither"], False, (0, 1)),
        (["neutral", "toxic", "very_toxic"], False, (1, 2)),
        (["clean", "offensive", "hate"], False, (1, 2)),
        (["none", "racism", "sexism"], False, (1, 2)),
        (["toxic", "Non Toxic", "neutral", "Severely Toxic"], False, (0, 3)),
        (["toxicity"], True, (0,)),
        (["HATE"], True, (0,)),
        (["non-toxic", "toxic"], True, None),  # None: its own attribute each
        (["hate", "sarcasm"], True, (0,)),
    ],
)
def test_toxic_labels_are_known_by_their_names(labels: list[str], multi: bool, toxic: tuple[int, ...] | None) -> None:
    outputs = outputs_of(labels, multi, None)
    assert outputs["toxicity"] == Output(toxic or (labels.index("toxic"),))


def test_kinds_of_a_multi_label_model_keep_their_names() -> None:
    outputs = outputs_of(["toxic", "severe_toxic", "Identity Hate"], True, None)
    assert outputs == {"toxicity": Output((0,)), "severe_toxicity": Output((1,)), "identity_attack": Output((2,))}


@pytest.mark.parametrize(
    ("labels", "multi"),
    [
        (["LABEL_0"], True),
        (["REWARD"], True),
        (["score"], True),
        (["non-toxic"], True),
        (["insult"], True),
        (["LABEL_0", "LABEL_1", "LABEL_2"], False),
        (["a", "b"], False),
        (["positive", "negative"], False),
        (["safe", "jailbreak"], False),
        (["toxic", "very_toxic"], False),
        (["hate", "offensive", "abusive"], False),  # nothing is harmless
        (["toxic", "positive", "negative"], False),
        (["neutral", "toxic", "spam"], False),
        (["hate", "offensive"], True),
        (["toxic", "toxicity"], True),
    ],
)
def test_doubt_is_an_error_that_names_the_labels(labels: list[str], multi: bool) -> None:
    with pytest.raises(InputError, match=", ".join(labels)) as raised:
        outputs_of(labels, multi, None)
    assert "harmless: " in str(raised.value)


def test_users_map_decides() -> None:
    labels = ["hate", "offensive", "neither"]
    attributes = {"toxicity": ["hate", "offensive"], "hate": "hate", "other": {"harmless": "neither"}}
    outputs = outputs_of(labels, False, wanted(attributes).attributes)
    row = [0.5, 0.25, 0.25]
    assert {name: output.value(row) for name, output in outputs.items()} == {
        "toxicity": 0.75,
        "hate": 0.5,
        "other": 0.75,
    }
    with pytest.raises(InputError, match="no label is named rude; the model's labels are hate, offensive, neither"):
        outputs_of(labels, False, wanted({"toxicity": "rude"}).attributes)
    with pytest.raises(InputError, match="do not exclude each other"):
        outputs_of(labels, True, wanted({"toxicity": ["hate", "offensive"]}).attributes)


def test_reward_is_turned_over_if_said_so() -> None:
    (output,) = outputs_of(["REWARD"], True, wanted({"toxicity": {"harmless": "REWARD"}}).attributes).values()
    assert output.value([0.9]) == pytest.approx(0.1) and output.spelled(["REWARD"]) == "1 - (REWARD)"


def test_sum_of_rounded_probabilities_is_not_above_one() -> None:
    assert Output((0, 1)).value([0.7, 0.3000001]) == 1.0
    assert Output((0,), inverted=True).value([1.0000001]) == 0.0


@pytest.mark.parametrize("attributes", [{"toxicity": []}, {"toxicity": {"labels": "a", "harmless": "b"}}])
def test_map_that_says_nothing_or_two_things_is_a_problem(attributes: object) -> None:
    with pytest.raises(ValueError, match="must be a label, a list of labels"):
        wanted(attributes)


def test_map_is_read_again_as_it_was_written() -> None:
    config = wanted({"toxicity": {"harmless": "a"}, "insult": "b"})
    assert ClassifierConfig.model_validate(config.model_dump(mode="json")) == config


def test_kinds_of_toxicity_do_not_exclude_each_other() -> None:
    assert is_multi_label(None, ["toxic", "insult", "obscene"])
    assert is_multi_label("multi_label_classification", ["a", "b"])
    assert is_multi_label("single_label_classification", ["toxic"])  # the softmax of one output is 1
    assert not is_multi_label(None, ["neutral", "toxic"])
    assert not is_multi_label(None, ["neutral", "toxic", "severe_toxic"])  # grades
    with pytest.raises(InputError, match="regression"):
        is_multi_label("regression", ["score"])


def test_labels_are_in_the_order_of_the_outputs() -> None:
    assert labels_of({"id2label": {"1": "b", "0": "a", "10": "k"}}) == ["a", "b", "k"]
    assert labels_of({}) == ["LABEL_0", "LABEL_1"] and labels_of({"num_labels": 1}) == ["LABEL_0"]
