"""A text has the score that it has alone, whatever shares its batch, for every kind of head and every pad setting."""

import copy
import inspect
import random
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from tiny_heads import EOS, FIRST, OTHER, PAD, VOCABULARY, model_of, tokenizer

from detox_ray.config import InputError
from detox_ray.models.families import FAMILIES
from detox_ray.models.padding import check_text_alone, padding_of
from detox_ray.score.batches import BatchedClassifier
from detox_ray.score.classifier_scorer import forward_of
from detox_ray.score.label_mapping import Output

SETTINGS: dict[str, tuple[int | None, str | None]] = {  # in the config, in the tokenizer
    "config only": (PAD, None),
    "tokenizer only": (None, "<pad>"),
    "both": (PAD, "<pad>"),
    "they differ": (OTHER, "<pad>"),
    "none": (None, None),
    "end of text": (EOS, "<eos>"),
    "outside the vocabulary": (VOCABULARY, None),
    "negative": (-1, "<pad>"),
}
NOT_TEXT = {name for name, family in FAMILIES.items() if not family.text_only}
# One for each way to read a text: end-of-text, last token (four), first token, no mask, last position.
FAST = ("bart", "bloom", "fnet", "gpt2", "llama", "qwen3", "roberta", "xlnet")


def families() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as NAMES

    return sorted(set(NAMES) - NOT_TEXT)


def texts() -> list[str]:
    """Of several lengths, some with special tokens in their middle or at their end."""
    rng = random.Random(0)
    made = [" ".join(f"w{rng.randrange(FIRST, VOCABULARY)}" for _ in range(n)) for n in (7, 7, 12, 33)]
    return [*made, f"{made[0]} <pad> w5", f"{made[1]} <other> <pad>", f"{made[2]} <eos> w6"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads of models this small wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scores(model: Any, tokens: Any, *batches: list[str]) -> list[float | None]:
    """None: a failure."""

    def softmax(logits_BC: Any) -> Any:
        return logits_BC.float().softmax(-1)

    forward, padding = forward_of(model, softmax), padding_of(model)
    classifier = BatchedClassifier(tokens, 128, forward, {"toxicity": Output((1,))}, padding, 1024)
    results = [result for batch in batches for result in classifier.score(batch)]
    return [result["toxicity"] if isinstance(result, dict) else None for result in results]


def alone(model: Any, tokens: Any, text: str) -> float | None:
    """What transformers gives for one text. None: it cannot do without a padding token, or not with such a one."""
    import torch

    takes = inspect.signature(model.forward).parameters
    inputs = {key: values for key, values in tokens(text, return_tensors="pt").items() if key in takes}
    try:
        with torch.inference_mode():
            return float(model(**inputs).logits.float().softmax(-1)[0, 1])
    except (ValueError, AssertionError, AttributeError, IndexError):
        return None


def check_family(family: str) -> None:
    model, asked = model_of(family), texts()
    for name, (in_config, in_tokenizer) in SETTINGS.items():
        tokens, plain, ours = tokenizer(in_tokenizer), copy.deepcopy(model), copy.deepcopy(model)
        try:
            for each in (plain, ours):
                each.config.pad_token_id = each.config.get_text_config().pad_token_id = in_config
        except StrictDataclassFieldValidationError:
            assert in_config is None  # a config of this family cannot go without
            continue
        together = scores(ours, tokens, asked)
        expected = [alone(plain, tokens, text) for text in asked]
        if None in expected:
            assert in_config not in (PAD, OTHER, EOS), (name, expected)
            expected = scores(ours, tokens, *([text] for text in asked))
        for text, ours_together, by_itself in zip(asked, together, expected, strict=True):
            assert ours_together == pytest.approx(by_itself, abs=1e-5), (name, text)


@pytest.mark.parametrize("family", FAST)
def test_company_does_not_change_a_score(family: str) -> None:
    check_family(family)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(families()) - set(FAST)))
def test_company_does_not_change_a_score_in_any_other_family(family: str) -> None:
    check_family(family)


@pytest.mark.parametrize("family", sorted(NOT_TEXT))
def test_model_of_more_than_text_is_refused(family: str) -> None:
    with pytest.raises(InputError, match=f"a {family} model takes more than"):
        check_text_alone(family)


def test_token_outside_the_vocabulary_fails_its_own_text_only() -> None:
    tokens = tokenizer(None)
    tokens.add_tokens(["new"])
    model = model_of("gpt2")
    model.config.pad_token_id = None
    forward = forward_of(model, lambda logits_BC: logits_BC.softmax(-1))
    classifier = BatchedClassifier(tokens, 128, forward, {"toxicity": Output((1,))}, padding_of(model), 1024)
    good, bad, also_good = classifier.score(["w5 w6 w7", "w5 new w7", "w8"])
    assert isinstance(good, dict) and isinstance(also_good, dict)
    assert not isinstance(bad, dict) and "not in the model's vocabulary" in bad.reason
