"""DPO with the likelihood of the chosen completions in its loss (docs/papers.md, the section of that name).

The term is TRL's loss "sft". It is computed here and not by TRL because TRL logs only the sum of its losses, and takes
the mean over the tokens of whatever batch it computes: if `fast_dpo` computes the pairs in other groups, the term would
change with the groups. Imported by workers only.
"""

from typing import Any

import torch

from detox_ray.train.trl_internals import PretokenizedDPOTrainer, RecordedPolicy

CHOSEN_TOKENS = "chosen_tokens"  # column: mean tokens of a chosen completion in the batch in which TRL draws the pair


def likelihood_loss(
    log_probs: torch.Tensor, completion_mask: torch.Tensor, chosen_tokens: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean negative log-likelihood of the chosen completions' tokens, end tokens included, in nats.

    The mean is over all tokens of a batch, so a long completion counts for more than a short one.

    Args:
        log_probs: [2 pairs, tokens - 1], of each next token; chosen completions come first.
        completion_mask: [2 pairs, tokens], 1 at the tokens of completions.
        chosen_tokens: [pairs], of each pair the mean tokens of a chosen completion in the batch whose mean is meant;
            None: in this batch.
    """
    chosen = completion_mask[:, 1:].chunk(2)[0]
    negative_sums = -(log_probs.chunk(2)[0] * chosen).sum(dim=1)
    if chosen_tokens is None:
        return negative_sums.sum() / chosen.sum()
    return (negative_sums / chosen_tokens).mean()


class SftTermDPOTrainer(PretokenizedDPOTrainer):
    """TRL's DPOTrainer, whose loss is the preference loss plus ``sft_weight`` times `likelihood_loss`.

    If the weight is not 0, both parts are logged, as ``preference_loss`` and ``nll_loss``.
    """

    def __init__(self, *args: Any, sft_weight: float, **kwargs: Any):
        self._sft_weight = sft_weight
        super().__init__(*args, **kwargs)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        chosen_tokens = inputs.pop(CHOSEN_TOKENS, None)
        if not self._sft_weight:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        assert not return_outputs  # evaluation asks for losses only
        policy = RecordedPolicy(model)
        preference = super().compute_loss(policy, inputs, False, num_items_in_batch)
        likelihood = likelihood_loss(policy.log_probs, inputs["completion_mask"], chosen_tokens)
        for name, part in (("preference_loss", preference), ("nll_loss", likelihood)):
            mean = self.accelerator.gather_for_metrics(part.detach()).mean()
            self.batch_metrics.setdefault(name, []).append(mean.item())
        return preference + self._sft_weight * likelihood
