"""The divergence from the parent."""

import pytest
import torch
from small_training import train_config
from torch.distributions import Categorical, kl_divergence

from detox_ray.train.kl_divergence import POSITIONS, sequences, token_kl, unmeasured


def test_token_kl_equals_torchs_own_over_any_number_of_positions() -> None:
    torch.manual_seed(0)
    for positions in (1, POSITIONS, 2 * POSITIONS + 3):
        p, q = torch.randn(positions, 50), 3 * torch.randn(positions, 50)
        expected = kl_divergence(Categorical(logits=p.double()), Categorical(logits=q.double())).sum()
        assert token_kl(p, q).item() == pytest.approx(expected.item(), rel=1e-5)
        assert token_kl(p, p).item() == 0


def test_sequences_are_whole_texts_with_the_first_learned_position() -> None:
    rows = [{"prompt_ids": [1, 2], "chosen_ids": [3], "rejected_ids": [4, 5]}, {"input_ids": [6, 7], "labels": [6, 7]}]
    assert sequences(rows) == [([1, 2, 3], 2), ([1, 2, 4, 5], 2), ([6, 7], 1)]
    assert len(sequences(rows * 20, most=16)) == 16
    alone = {"input_ids": [6], "labels": [6]}
    empty = {"prompt_ids": [], "chosen_ids": [3, 4], "rejected_ids": [5]}
    assert sequences([alone, empty]) == [([3, 4], 1)]  # nothing predicts a first token


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": "live"}, None),
        ({"reference": "cached"}, "reference: cached"),
        ({"reference": "cached", "tuning": "lora"}, None),
        ({"method": "kto"}, None),
        ({"method": "sft"}, "sft with full tuning"),
        ({"method": "sft", "tuning": "lora"}, None),
        ({"method": "orpo"}, "orpo with full tuning"),
        ({"method": "cpo", "tuning": "lora"}, None),
    ],
)
def test_divergence_is_measured_where_the_parent_is_at_hand_and_else_said_why_not(
    changes: dict[str, object], said: str | None
) -> None:
    reason = unmeasured(train_config(**changes))
    assert reason is None if said is None else said in (reason or "")
