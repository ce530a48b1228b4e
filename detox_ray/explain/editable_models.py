"""Models whose neurons can be edited, on both engines: what they continue, and how probable they find a text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from detox_ray.config import GenerateConfig, InputError
from detox_ray.generate.engine import Engine
from detox_ray.generate.engines import resolve_engine
from detox_ray.generate.transformers_engine import TransformersEngine
from detox_ray.generate.vllm_engine import VLLMEngine
from detox_ray.models import LoadableModel, edits
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.codec import Codec
from detox_ray.models.edits import NeuronWeights
from detox_ray.models.mlp import Mlps
from detox_ray.models.neurons import Neuron
from detox_ray.models.vllm_edits import EXTENSION
from detox_ray.score.batches import by_length, token_budget
from detox_ray.storage import Store

Loss = tuple[float, int]  # nats, tokens
LOSS_TOKENS = 8192  # padded tokens of a batch of harmless texts, at most


class EditableModel(Protocol):
    """A loaded model that edits change for a while."""

    engine: Engine

    def offset(self, neurons: Sequence[Neuron], amounts: Sequence[float]) -> AbstractContextManager[None]:
        """Add a constant to each neuron's activation, at every position and step."""
        ...

    def transplanted(self, weights: dict[int, NeuronWeights]) -> AbstractContextManager[None]:
        """Replace neurons by those with the same layer and index of another model."""
        ...

    def losses(self, texts: Sequence[str]) -> list[Loss]:
        """Return the negative log-likelihood of each text; (0, 0) of one that leaves nothing to predict."""
        ...


def load(model: LoadableModel, store: Store, config: GenerateConfig, gpus: int) -> EditableModel:
    """Load a model into the engine that a config names.

    Args:
        model: what to load.
        store: the run's.
        config: how completions are drawn.
        gpus: over how many GPUs transformers spreads a model.
    """
    path, loading = model.local_path(store), model.loading()
    if resolve_engine(config).name == "vllm":
        return VLLMModel(path, loading, model.dtype, config)
    return TransformersModel(CausalModel(path, loading, model.dtype, gpus), config)


class TransformersModel:
    """A model of transformers."""

    def __init__(self, model: CausalModel, config: GenerateConfig):
        self._model, self.mlps = model, Mlps(model.network)
        self.engine: Engine = TransformersEngine(model, config)

    def offset(self, neurons: Sequence[Neuron], amounts: Sequence[float]) -> AbstractContextManager[None]:
        return edits.offset(self.mlps, neurons, amounts)

    def transplanted(self, weights: dict[int, NeuronWeights]) -> AbstractContextManager[None]:
        return edits.transplanted(self.mlps, weights)

    def losses(self, texts: Sequence[str]) -> list[Loss]:
        model = self._model
        rows, given = _predictable(model.codec, texts, model.codec.context)
        places = list(rows)
        budget = token_budget(LOSS_TOKENS, model.device.kind, model.codec.vocabulary)
        nll: dict[int, float] = {}
        for batch in by_length([len(row) for row in rows.values()], budget):
            losses = model.nll([rows[places[at]] for at in batch], given)
            nll.update(zip([places[at] for at in batch], losses, strict=True))
        return _by_text(rows, nll, given, len(texts))


class VLLMModel:
    """A model in vLLM. The engine runs without CUDA graphs, which would not see an edit.

    After each edit, and after it is undone, the engine forgets the keys and values of prompts that it has read. A probe
    prompt shows that an offset changes probabilities, and that they are the old ones again once an edit is undone.
    """

    def __init__(self, path: str, loading: dict[str, Any], dtype: str, config: GenerateConfig):
        options = {"enforce_eager": True, "worker_extension_cls": EXTENSION}
        self._vllm = VLLMEngine(path, loading, dtype, config, options)
        self.engine: Engine = self._vllm
        codec = self._vllm.codec
        self._probe = codec.ids(["a"])[0] or codec.empty

    @contextmanager
    def offset(self, neurons: Sequence[Neuron], amounts: Sequence[float]) -> Iterator[None]:
        layers, indices = [layer for layer, _ in neurons], [index for _, index in neurons]
        with self._edited("add_to_activations", layers, indices, list(amounts)) as changed:
            if not changed:
                raise InputError(
                    f"explain: adding {amounts[0]:g} to {len(neurons)} neurons changed no probability of a probe "
                    "prompt in vLLM: set explain.engine to transformers, or take a larger dose"
                )
            yield

    @contextmanager
    def transplanted(self, weights: dict[int, NeuronWeights]) -> Iterator[None]:
        with self._edited("replace_neurons", edits.packed(weights)):  # changes nothing if tuning left them as they were
            yield

    @contextmanager
    def _edited(self, method: str, *args: Any) -> Iterator[bool]:
        """Call a method of `NeuronEdits`, say if the probe prompt's probabilities change, and undo the edit."""
        before = self._logprobs()
        self._vllm.llm.collective_rpc(method, args=args)
        try:
            yield self._logprobs() != before
        finally:
            self._vllm.llm.collective_rpc("undo_edits")
        if self._logprobs() != before:
            raise InputError("explain: vLLM kept an edit that was undone: set explain.engine to transformers")

    def losses(self, texts: Sequence[str]) -> list[Loss]:
        from vllm import SamplingParams, TokensPrompt

        # vLLM scores a prompt only on the way to a next token, for which there must be room.
        rows, given = _predictable(self._vllm.codec, texts, self._vllm.context - 1)
        outputs = self._vllm.llm.generate(
            [TokensPrompt(prompt_token_ids=row) for row in rows.values()],
            SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=0, detokenize=False),
            use_tqdm=False,
        )
        nll = {}
        for (place, row), output in zip(rows.items(), outputs, strict=True):
            predicted = zip(row[given:], output.prompt_logprobs[given:], strict=True)
            nll[place] = -sum(logprobs[token].logprob for token, logprobs in predicted)
        return _by_text(rows, nll, given, len(texts))

    def _logprobs(self) -> dict[int, float]:
        """Return what the model expects after the probe prompt, read without any cache."""
        from vllm import SamplingParams, TokensPrompt

        emptied = self._vllm.llm.reset_prefix_cache()
        assert emptied, "no request is running"
        parameters = SamplingParams(max_tokens=1, temperature=0, logprobs=5, detokenize=False)
        (output,) = self._vllm.llm.generate(TokensPrompt(prompt_token_ids=self._probe), parameters, use_tqdm=False)
        logprobs: Mapping[int, Any] = output.outputs[0].logprobs[0]
        return {token: value.logprob for token, value in logprobs.items()}


def _predictable(codec: Codec, texts: Sequence[str], most: int) -> tuple[dict[int, list[int]], int]:
    """Return the token ids of each text that has a token to predict, by place, and how many tokens are given."""
    given = max(1, len(codec.prefix))
    ids = [row[:most] for row in codec.ids(texts)]
    return {place: row for place, row in enumerate(ids) if len(row) > given}, given


def _by_text(rows: Mapping[int, list[int]], nll: Mapping[int, float], given: int, texts: int) -> list[Loss]:
    """Return the loss of each text, by place."""
    return [(nll[place], len(rows[place]) - given) if place in nll else (0.0, 0) for place in range(texts)]
