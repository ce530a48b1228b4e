"""The lm-evaluation-harness (lm_eval 0.4.13) on a loaded model: its tasks and rules, and our own forward passes.

Prompts, options, the split of tokens between them, and the definition of a correct answer are lm_eval's. Not used are
its index of 16,000 task files, its caches (whose key does not include the model), its data parallelism (which shuts Ray
down), and its truncation of long prompts before an option: a question that does not fit is "too_long". A prompt of a
task with free-text answers is still truncated at its beginning, as in lm_eval.

Shapes: B rows, T tokens, V vocabulary, O tokens of an option.
"""

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.samplers import FirstNSampler
from lm_eval.api.task import ConfigurableTask
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import handle_non_serializable, hash_string

from detox_ray.config import InputError
from detox_ray.models.causal_model import CausalModel
from detox_ray.models.padding import padded_rows
from detox_ray.score.batches import by_length, token_budget
from detox_ray.storage.tables import FAILED, OK
from detox_ray.suites.knowledge.lm_eval_internals import filter_responses
from detox_ray.suites.knowledge.tables import TOO_LONG

FEWSHOT_SEED = 1234  # lm_eval's default
METRIC, NORMALISED = "acc", "acc_norm"

TokenRequest = tuple[tuple[str, str], list[int], list[int]]  # the texts; the token ids of context and continuation


class Harness(HFLM):
    """A loaded model with the interface of lm_eval, whose forward passes have a bounded number of tokens."""

    def __init__(self, model: CausalModel, batch_tokens: int):
        self._causal = model
        super().__init__(
            pretrained=model.network,
            backend="causal",
            tokenizer=model.codec.tokenizer,
            max_length=model.codec.context,
            batch_size=1,  # for completions; likelihoods are batched below
        )
        self._device = torch.device(model.device.kind)
        self._budget = token_budget(batch_tokens, model.device.kind, model.codec.vocabulary)

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return the token ids of a text, with the tokenizer's prefix but without a suffix."""
        codec = self._causal.codec
        (ids,) = codec.plain([string]) if add_special_tokens is False else codec.ids([string])
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def _loglikelihood_tokens(
        self, requests: Sequence[TokenRequest], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Any]:
        """Return each continuation's log-likelihood and whether it is the likeliest, or None if it does not fit.

        Continuations that differ only in the last token, such as the letters of options, share one forward pass.
        """
        answers: list[tuple[float | None, bool]] = [(None, False)] * len(requests)
        sharing: dict[tuple[int, ...], list[int]] = {}
        for place, (_, context, continuation) in enumerate(requests):
            read = (*context, *continuation[:-1])
            if continuation and len(read) < self.max_length:
                sharing.setdefault(read, []).append(place)
        rows = list(sharing)
        for batch in by_length([len(row) for row in rows], self._budget):
            longest = {row: max(len(requests[place][2]) for place in sharing[rows[row]]) for row in batch}
            # The head is as large as several layers, so it is applied only at positions that predict a token.
            wanted = sorted({at for row in batch for at in range(len(rows[row]) - longest[row], len(rows[row]))})
            column = {at: place for place, at in enumerate(wanted)}
            device = self._causal.device.kind
            ids_BT, mask_BT = padded_rows([rows[row] for row in batch], self._causal.codec.pad, device)
            with torch.inference_mode():
                logits_BTV = self._causal.network(
                    input_ids=ids_BT, attention_mask=mask_BT, logits_to_keep=torch.tensor(wanted, device=device)
                ).logits
            if logits_BTV.shape[1] != len(wanted):  # a model that ignores logits_to_keep returns all positions
                logits_BTV = logits_BTV[:, wanted]
            for row, logits_TV in zip(batch, logits_BTV, strict=True):
                end = column[len(rows[row]) - 1] + 1
                logp_OV = logits_TV[end - longest[row] : end].float().log_softmax(-1)
                for place in sharing[rows[row]]:
                    option = torch.tensor(requests[place][2], device=logp_OV.device)
                    mine_OV = logp_OV[len(logp_OV) - len(option) :]
                    likelihood = mine_OV.gather(-1, option[:, None]).double().sum().item()
                    answers[place] = likelihood, bool((mine_OV.argmax(-1) == option).all())
        return answers


class Answer(NamedTuple):
    """A model's answer to one question: a row of ANSWERS without the columns that depend on the question alone."""

    question: str
    row: int
    document: dict[str, Any]  # the question in the task's format
    option_nlls: list[float] | None
    option_bytes: list[int] | None
    chosen: int | None
    gold: int | None
    correct: float | None
    correct_norm: float | None
    status: str


class LoadedTask:
    """A task of lm_eval in one language."""

    def __init__(self, task: ConfigurableTask, shots: int | None, same_part: str | None = None):
        """Initialize a task.

        Args:
            task: A task of lm_eval.
            shots: Number of examples before each question; None takes it from the task's YAML.
            same_part: Column whose value a question shares with its examples.

        Raises:
            InputError: The task has no metric for which higher values are better.
        """
        self._task, self._same_part = task, same_part
        self._metric = _metric_of(task)
        if shots is not None:
            task.set_config(key="num_fewshot", value=shots)
        self._shots = int(task.config.num_fewshot or 0)
        self._examples = list(task.fewshot_docs() or []) if self._shots else []

    @property
    def size(self) -> int:
        """Return the number of questions."""
        return len(self._task.eval_docs)

    def answer(self, harness: Harness, rows: range) -> list[Answer]:
        """Return the model's answers to some of the questions."""
        questions = list(self._requests(rows))
        by_type: dict[str, list[Instance]] = {}
        for _, _, instances in questions:
            for instance in instances:
                by_type.setdefault(instance.request_type, []).append(instance)
        for kind, instances in by_type.items():
            repeated = [instance for instance in instances for _ in range(instance.repeats)]
            for instance, response in zip(repeated, getattr(harness, kind)(repeated, disable_tqdm=True), strict=True):
                instance.resps.append(response)
        filter_responses(self._task, [instance for _, _, instances in questions for instance in instances])
        return [self._answer(row, document, instances) for row, document, instances in questions]

    def _requests(self, rows: range) -> Iterator[tuple[int, dict[str, Any], list[Instance]]]:
        """Yield the requests of each question.

        As in lm_eval, examples are drawn from one random stream over all questions, so the examples of the questions
        before ``rows`` are drawn too.
        """
        task = self._task
        drawn = self._shots > 0 and not isinstance(task.sampler, FirstNSampler)
        task.set_fewshot_seed(FEWSHOT_SEED)
        for row, document in enumerate(task.eval_docs):
            if row >= rows.stop:
                return
            if row not in rows and not drawn:
                continue
            if self._examples and self._same_part is not None:
                part = document[self._same_part]
                task.sampler.replace_df([example for example in self._examples if example[self._same_part] == part])
            context = task.fewshot_context(document, num_fewshot=self._shots, gen_prefix=task.doc_to_prefix(document))
            if row not in rows:
                continue
            metadata = (task.config.task, row, task.config.repeats)
            requests = task.construct_requests(doc=document, ctx=context, metadata=metadata)
            yield row, document, requests if isinstance(requests, list) else [requests]

    def _answer(self, row: int, document: dict[str, Any], instances: Sequence[Instance]) -> Answer:
        task = self._task
        filtered = next(iter(instances[0].filtered_resps))
        responses = [instance.filtered_resps[filtered] for instance in instances]
        content = json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)
        question = hash_string(content)
        # Otherwise lm_eval would count such a question of a task of type "loglikelihood" as wrong.
        likelihoods = [response[0] for response in responses if isinstance(response, tuple)]
        if None in likelihoods or not all(map(math.isfinite, likelihoods)):
            status = TOO_LONG if None in likelihoods else FAILED
            return Answer(question, row, document, None, None, None, None, None, None, status)
        nlls = sizes = chosen = gold = None
        if task.OUTPUT_TYPE == "multiple_choice":
            options = task.doc_to_choice(document)
            nlls = [-float(likelihood) for likelihood, _ in responses[: len(options)]]
            sizes = [len(option.encode()) for option in options]
            chosen = min(range(len(nlls)), key=nlls.__getitem__)
            target = task.doc_to_target(document)
            gold = options.index(target) if isinstance(target, str) and target in options else target
        metrics = task.process_results(document, responses)
        first = metrics.get(self._metric)
        if isinstance(first, bool | int | float) and 0 <= first <= 1:
            norm = metrics.get(NORMALISED)
            correct, norm, status = float(first), None if norm is None else float(norm), OK
        else:
            correct, norm, status = None, None, FAILED
        gold = gold if isinstance(gold, int) else None
        return Answer(question, row, document, nlls, sizes, chosen, gold, correct, norm, status)


def _metric_of(task: ConfigurableTask) -> str:
    """Return the name of the task's main metric: accuracy, or else the first for which higher is better."""
    better = task.higher_is_better()
    rising = sorted((name for name, higher in better.items() if higher), key=lambda name: name != METRIC)
    if not rising:
        rule = f"for none of its metrics ({', '.join(better) or 'none'}) are higher values better"
        raise InputError(f"knowledge.tasks: {task.config.task}: {rule}: set metric_list in its YAML")
    return str(rising[0])
