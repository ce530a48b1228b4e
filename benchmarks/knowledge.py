"""Questions per second of the knowledge suite against lm_eval's own HFLM, on the same questions and model.

    python benchmarks/knowledge.py [--questions 200] [--shots 5] [--width 512] [--layers 8] [--batch 8]

The model has random weights: a Llama of the given width with a vocabulary of 32,000. Questions are made up in the form
of Global-MMLU. HFLM gets a batch of its own, --batch, as a user would set it; ours fits its batches to a number of
tokens. Answers are compared before speed is.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import torch
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from detox_ray.models.causal_model import CausalModel
from detox_ray.suites.knowledge.catalogue import READY
from detox_ray.suites.knowledge.harness import Harness, LoadedTask
from detox_ray.suites.knowledge.task_loading import ready_task

VOCABULARY = 32_000
WORDS = 12  # of a question, and of an option


def save_model(folder: Path, width: int, layers: int) -> None:
    """Save a Llama with random weights, and a tokenizer of one token a word."""
    words = {"<s>": 0, "</s>": 1, "<unk>": 2, **{f"w{n}": n + 3 for n in range(VOCABULARY - 20)}}
    for text in ("A", "B", "C", "D", ".", ":", "Answer"):
        words[text] = len(words)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def questions(count: int) -> list[dict[str, str]]:
    """Make up questions in the form of Global-MMLU, of different lengths."""
    rng = random.Random(0)

    def text(most: int) -> str:
        return " ".join(f"w{rng.randrange(20_000)}" for _ in range(rng.randint(most // 2, 3 * most)))

    return [
        {"sample_id": f"law/test/{n}", "subject": "law", "question": text(WORDS), "answer": rng.choice("ABCD")}
        | {f"option_{letter}": text(4) for letter in "abcd"}
        for n in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = {"questions": 200, "shots": 5, "width": 512, "layers": 8, "batch": 8, "repeats": 3}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        save_model(folder / "model", wanted.width, wanted.layers)
        model = CausalModel(str(folder / "model"), {}, "float32")
        rows = [json.dumps(question) for question in questions(wanted.questions)]
        documents = [("test", row) for row in rows] + [("dev", row) for row in rows[: wanted.shots]]
        (folder / "task").mkdir()
        task = LoadedTask(ready_task(READY["global-mmlu"], "en", documents, folder / "task"), wanted.shots, "subject")
        hflm = HFLM(
            pretrained=model.network,
            tokenizer=model.codec.tokenizer,
            batch_size=wanted.batch,
            device=model.device.kind,
            max_length=2048,
        )
        ours = Harness(model, 8192)
        asked = range(wanted.questions)
        seconds: dict[str, list[float]] = {"HFLM": [], "detox_ray": []}
        chosen = {}
        for _ in range(wanted.repeats):
            for name, answering in (("HFLM", hflm), ("detox_ray", ours)):
                started = time.perf_counter()
                answers = task.answer(answering, asked)  # type: ignore[arg-type]
                seconds[name].append(time.perf_counter() - started)
                chosen[name] = [answer.chosen for answer in answers]
        assert chosen["detox_ray"] == chosen["HFLM"], "the two answer differently"
        rates = {name: wanted.questions / statistics.median(each) for name, each in seconds.items()}
        for name, rate in rates.items():
            print(f"{name:15} {rate:8.2f} questions/s   ({', '.join(f'{each:.1f} s' for each in seconds[name])})")
        print(f"ratio           {rates['detox_ray'] / rates['HFLM']:8.2f}")


if __name__ == "__main__":
    main()
