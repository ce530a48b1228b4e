"""DPO with the likelihood of the chosen completions in its loss (docs/papers.md, the section of that name).

The term is TRL's loss "sft". It is not computed by TRL, because TRL logs only the sum of its losses and takes the mean
over the tokens of the batch that it computes: the term would change with the groups of `fast_dpo`. Only workers import
this module.
"""

from typing import Any

import torch

from detox_ray.train.trl_internals import PretokenizedDPOTrainer, RecordedPolicy

CHOSEN_TOKENS = "chosen_tokens"  # column with the mean tokens of chosen completions in the batch that TRL draws


def likelihood_loss(
    log_probs: torch.Tensor, completion_mask: torch.Tensor, chosen_tokens: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean negative log-likelihood of the chosen completions' tokens, including end tokens, in nats.

    The mean is over all tokens of a batch, so a long completion counts more than a short one.

    Args:
        log_probs: Log-probability of each next token, [2 pairs, tokens - 1]; chosen completions come first.
        completion_mask: 1 at the tokens of completions, [2 pairs, tokens].
        chosen_tokens: For each pair, the mean tokens of chosen completions in the batch that defines the mean, [pairs];
            None: this batch.
    """
    chosen = completion_mask[:, 1:].chunk(2)[0]
    negative_sums = -(log_probs.chunk(2)[0] * chosen).sum(dim=1)
    if chosen_tokens is None:
        return negative_sums.sum() / chosen.sum()
    return (negative_sums / chosen_tokens).mean()


class SftTermDPOTrainer(PretokenizedDPOTrainer):
    """TRL's DPOTrainer with the loss: preference loss plus ``sft_weight`` times `likelihood_loss`.

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
        assert not return_outputs  # evaluation needs only losses
        policy = RecordedPolicy(model)
        preference = super().compute_loss(policy, inputs, False, num_items_in_batch)
        likelihood = likelihood_loss(policy.log_probs, inputs["completion_mask"], chosen_tokens)
        for name, part in (("preference_loss", preference), ("nll_loss", likelihood)):
            mean = self.accelerator.gather_for_metrics(part.detach()).mean()
            self.batch_metrics.setdefault(name, []).append(mean.item())
        return preference + self._sft_weight * likelihood
