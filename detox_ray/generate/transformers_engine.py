"""The transformers engine: plain PyTorch sampling over a KV cache.

Each sample has all of its uniform random numbers before the first step, drawn by a generator of its own or by one for
all samples. A token is chosen by inverting the cumulative distribution at such a number, so a row's randomness does not
depend on the rest of its batch.

Shapes: P prompts, S samples, B = P·S rows, T tokens, V vocabulary.
"""

from collections.abc import Sequence

import torch
import transformers

from detox_ray.config import GenerateConfig
from detox_ray.generate.engine import Completion, Generated
from detox_ray.generate.seeds import sample_seeds
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.codec import prompt_limit
from detox_ray.models.padding import padded_rows

ROWS = 256  # most rows of a batch


class TransformersEngine:
    """An engine around one AutoModelForCausalLM."""

    name = "transformers"
    version = transformers.__version__

    def __init__(self, model: CausalModel, config: GenerateConfig):
        self._codec, self._model = model.codec, model.network
        self._on, self.device = model.device
        self._config = config
        self._limit = prompt_limit(self._codec.context, len(self._codec.prefix), config.max_tokens)
        ends = self._model.generation_config.eos_token_id
        tokenizer_end = self._codec.tokenizer.eos_token_id
        end_tokens = {*(ends if isinstance(ends, list) else [ends]), tokenizer_end} - {None}
        self._ends = torch.tensor(sorted(end_tokens), device=self._on)

    def generate(self, prompts: Sequence[str], seeds: Sequence[int] | int, chat: bool = False) -> Generated:
        encoded = self._codec.encode(prompts, self._limit, chat)
        seeds_PS = sample_seeds(seeds, len(prompts), self._config.samples)
        uniform_PST = uniform_numbers(seeds, len(prompts), self._config.samples, self._config.max_tokens)
        order = sorted(range(len(prompts)), key=lambda index: len(encoded.ids[index]))
        at_once = max(1, ROWS // self._config.samples)
        completions: dict[int, list[Completion]] = {}
        for begin in range(0, len(order), at_once):
            batch = order[begin : begin + at_once]
            seeds_B = [seed for i in batch for seed in seeds_PS[i]]
            uniform_BT = uniform_PST[batch].flatten(0, 1).to(self._on)
            samples = self._sample([encoded.ids[i] for i in batch], seeds_B, uniform_BT)
            completions.update(zip(batch, samples, strict=True))
        return Generated([completions[index] for index in range(len(prompts))], encoded.cut)

    @torch.inference_mode()
    def _sample(self, prompts: list[list[int]], seeds_B: list[int], uniform_BT: torch.Tensor) -> list[list[Completion]]:
        config, codec = self._config, self._codec
        # Read the prompts once, then repeat their cache for every sample.
        ids_PT, mask_PT = padded_rows(prompts, codec.pad, self._on, side="left")
        positions_PT = (mask_PT.cumsum(-1) - 1).clamp(min=0)
        out = self._model(
            input_ids=ids_PT, attention_mask=mask_PT, position_ids=positions_PT, use_cache=True, logits_to_keep=1
        )
        cache = out.past_key_values
        cache.batch_repeat_interleave(config.samples)
        logits_BV = out.logits[:, -1].repeat_interleave(config.samples, 0)
        mask_BT = mask_PT.repeat_interleave(config.samples, 0)
        position_B = positions_PT[:, -1].repeat_interleave(config.samples, 0)

        # Draw one token a step, until every row has ended.
        tokens: list[torch.Tensor] = []
        ended_B = torch.zeros(len(seeds_B), dtype=torch.bool, device=self._on)
        for step in range(config.max_tokens):
            token_B = choose(logits_BV.float(), uniform_BT[:, step], config.temperature, config.top_p)
            tokens.append(token_B)
            ended_B |= torch.isin(token_B, self._ends)
            if step == config.max_tokens - 1 or ended_B.all():
                break
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(seeds_B), 1)], dim=1)
            position_B = position_B + 1
            out = self._model(
                input_ids=token_B[:, None],
                attention_mask=mask_BT,
                position_ids=position_B[:, None],
                past_key_values=cache,
                use_cache=True,
            )
            cache, logits_BV = out.past_key_values, out.logits[:, -1]
        rows = torch.stack(tokens, dim=1).tolist()
        completions = [
            self._completion(prompts[row // config.samples], ids, seed)
            for row, (ids, seed) in enumerate(zip(rows, seeds_B, strict=True))
        ]
        return [completions[at : at + config.samples] for at in range(0, len(completions), config.samples)]

    def _completion(self, prompt: list[int], ids: list[int], seed: int) -> Completion:
        ends = set(self._ends.tolist())
        end = next((at for at, token in enumerate(ids) if token in ends), None)
        kept = ids if end is None else ids[: end + 1]
        text = self._codec.completion(prompt, kept)
        return Completion(text, len(kept), "length" if end is None else "stop", seed)

    def close(self) -> None:
        """Do nothing: the engine has no processes of its own."""


def uniform_numbers(seeds: Sequence[int] | int, prompts: int, samples: int, tokens: int) -> torch.Tensor:
    """Return the random numbers of each sample, (P, S, T), by a generator for each sample or by one for all.

    Args:
        seeds: A seed for each prompt, to which a sample's number is added; or one for all.
        prompts: Number of prompts.
        samples: Number of samples of each prompt.
        tokens: Most tokens of a completion.
    """
    generator = torch.Generator()
    if isinstance(seeds, int):
        return torch.rand(prompts, samples, tokens, generator=generator.manual_seed(seeds))
    uniform_PST = torch.empty(prompts, samples, tokens)
    for prompt, seeds_S in enumerate(sample_seeds(seeds, prompts, samples)):
        for sample, seed in enumerate(seeds_S):
            torch.rand(tokens, generator=generator.manual_seed(seed), out=uniform_PST[prompt, sample])
    return uniform_PST


def choose(logits_BV: torch.Tensor, uniform_B: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Return a token for each row (B,): the one at which the nucleus's cumulative distribution passes ``uniform_B``."""
    if temperature == 0:
        return logits_BV.argmax(-1)
    probability_BV, index_BV = (logits_BV / temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    before_BV = probability_BV.cumsum(-1) - probability_BV
    nucleus_BV = probability_BV.where(before_BV < top_p, 0.0)
    nucleus_BV[:, 0] = probability_BV[:, 0]
    reached_BV = nucleus_BV.cumsum(-1)
    rank_B1 = torch.searchsorted(reached_BV, (uniform_B * reached_BV[:, -1])[:, None], right=True)
    last_B1 = (nucleus_BV > 0).sum(-1, keepdim=True) - 1  # rounding errors may carry the search past the last token
    return index_BV.gather(-1, rank_B1.minimum(last_B1))[:, 0]
