"""The parts of benchmarks/gpu.py, each of which measures one thing on one device and returns name -> value."""

import contextlib
import os
import random
import time
from pathlib import Path
from typing import Any

SHAPES = {
    "full": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "quick": {
        "model_type": "llama", "vocab_size": 2048, "hidden_size": 128, "intermediate_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
WORDS = 1000
WARM_UP = 2  # steps that are not timed


def write_model(folder: Path, shape: dict[str, Any], dtype: str) -> None:
    """Write a random Llama with a tokenizer of one token a word."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<end>": 0, "<unknown>": 1} | {f"w{number}": number + 2 for number in range(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = LlamaConfig(**{key: value for key, value in shape.items() if key != "model_type"})
    LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unknown>").save_pretrained(folder)


def words(count: int, draw: random.Random) -> str:
    return " ".join(f"w{draw.randrange(WORDS)}" for _ in range(count))


def peak_of(device: str) -> float | None:
    """Return the device's operations a second in bfloat16, from its data sheet; None if it is not known."""
    import torch

    from detox_ray.estimate.assumptions import DEVICES

    if device != "cuda":
        return None
    name = torch.cuda.get_device_name().lower().replace(" ", "-")
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    known = {"a100-40gb": "a100" in name and gib < 60, "a100-80gb": "a100" in name and gib > 60}
    for key, spec in DEVICES.items():
        if known.get(key, key.split("-")[0] in name.split("-")) and spec.tflops_16bit:
            return spec.tflops_16bit * 1e12
    return None


def synchronize(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def training(folder: Path, device: str, quick: bool, tuning: str) -> dict[str, Any]:
    """Time steps of DPO that fill max_length, and compare the peak memory with the plan's."""
    from detox_ray.train import deepspeed_cpu

    if device == "cpu":
        deepspeed_cpu.before_imports()
    os.environ |= {"TQDM_DISABLE": "1", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    import pyarrow as pa
    import torch
    from transformers import TrainerCallback

    from detox_ray.config import TrainConfig
    from detox_ray.estimate.architecture import Tuning, architecture
    from detox_ray.estimate.computation import training_work
    from detox_ray.estimate.rows import TrainingRows
    from detox_ray.estimate.training_memory import worker_memory
    from detox_ray.models import resolve_path
    from detox_ray.storage import Store
    from detox_ray.storage.tables import PAIRS
    from detox_ray.train.settings import lora_of
    from detox_ray.train.train_loop import run_train_loop
    from detox_ray.train.training_job import TrainingJob, TrainWorker

    shape = SHAPES["quick" if quick else "full"]
    dtype = "bfloat16" if device == "cuda" else "float32"
    length, steps = (64, 4) if quick else (512, 12)
    base = {
        "parent": "base", "tuning": tuning, "deepspeed": "zero0", "dtype": dtype, "optimizer": "adamw",
        "reference": "live", "batching": "padded", "max_length": length, "max_steps": steps, "warmup_steps": 0,
        "validation_fraction": 0, "checkpoint_every": 10_000, "tracking": [],
    }  # fmt: skip
    # Take the largest batch that fits by the plan, as a user does.
    gib = torch.cuda.get_device_properties(0).total_memory / 2**30 if device == "cuda" else 8
    for batch in (2,) if quick else (16, 8, 4, 2, 1):
        config = TrainConfig.model_validate({**base, "batch_size": batch})
        built = architecture(shape, Tuning(lora_of(config) if tuning != "full" else None, None), dtype)
        memory = worker_memory(built, config, gpu=device == "cuda")
        parts = tuple(part for part in memory.parts if part.phase != "save")
        planned = memory._replace(parts=parts).needed("device")
        if planned < (gib - 2) * 2**30:
            break
    write_model(folder / "model", shape, dtype)
    store = Store.at(str(folder / "run"))
    draw = random.Random(0)
    texts = [(words(16, draw), f" {words(length, draw)}", f" {words(length, draw)}") for _ in range(batch * steps)]
    rows = [
        {"pair_id": f"p{number}", "prompt": prompt, "chosen": chosen, "rejected": rejected, "language": "en"}
        for number, (prompt, chosen, rejected) in enumerate(texts)
    ]
    store.commit(PAIRS.unit(), "0" * 16, pa.Table.from_pylist(rows, schema=PAIRS.columns))
    parent = resolve_path("base", str(folder / "model"), None, "auto")
    job = TrainingJob(tuning, "0" * 16, config, parent, (PAIRS.unit(), "0" * 16), 0, store, device == "cuda")

    class Enough(Exception):
        pass

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            synchronize(device)
            ends.append(time.perf_counter())

        def on_train_end(self, *_: object, **__: object) -> None:
            raise Enough  # saving and verification are no part of it

    backend = "nccl" if device == "cuda" else "gloo"
    if device == "cuda":
        torch.cuda.set_device(0)
    torch.distributed.init_process_group(backend, init_method=f"file://{folder}/group", rank=0, world_size=1)
    with contextlib.suppress(Enough):
        run_train_loop(job, TrainWorker(0, 0, 1), [Clock()], None, 0)
    seconds = (ends[-1] - ends[WARM_UP - 1]) / (len(ends) - WARM_UP)
    counted = TrainingRows(batch, 0, 2, length, length, length, "all of max_length")
    work = training_work(built, config.model_copy(update={"max_steps": 1}), counted)
    result: dict[str, Any] = {
        "pairs a step": batch,
        "tokens a second": work.training.tokens / seconds,
        "TFLOPS": work.training.operations / seconds / 1e12,
        "planned GiB": planned / 2**30,
    }
    if device == "cuda":
        measured = torch.cuda.max_memory_allocated()
        result |= {"measured GiB": measured / 2**30, "planned / measured": planned / measured}
        if peak := peak_of(device):
            result["share of the peak"] = work.training.operations / seconds / peak
    return result


def scoring(folder: Path, device: str, quick: bool) -> dict[str, Any]:
    """Compare texts a second of our scorer and of Detoxify.predict on slices of 64."""
    import scoring as benchmark
    from detoxify import Detoxify

    from detox_ray.config import ScoreConfig
    from detox_ray.score.detoxify_scorer import DetoxifyScorer

    draw = random.Random(0)
    vocabulary = benchmark.words(draw)
    texts = benchmark.make_texts(draw, vocabulary, 64 if quick else 5000)
    checkpoint = benchmark.build(folder, vocabulary, "tiny" if quick else "base")
    scorer = DetoxifyScorer("ours", checkpoint, folder, ScoreConfig.model_fields["batch_tokens"].default)
    ours, scores = benchmark.timed(lambda some: scorer.score(some, "en"), texts)
    model = Detoxify(checkpoint=str(checkpoint), huggingface_config_path=str(folder), device=device)
    theirs, expected = benchmark.timed(lambda some: benchmark.predict(model, 64, some), texts)
    return {
        "dtype": scorer.notes["dtype"],
        "texts a second": len(texts) / ours.wall,
        "Detoxify's texts a second": len(texts) / theirs.wall,
        "ours / Detoxify's": theirs.wall / ours.wall,
        "largest difference of a score": benchmark.largest_difference(scores, expected),
    }


def generation(folder: Path, device: str, quick: bool) -> dict[str, Any]:
    """Time a vLLM engine on prompts of 16 tokens, 25 completions of 20 tokens each, as the papers generate."""
    from detox_ray.models import vllm_options

    dtype = "bfloat16" if device == "cuda" else "float32"
    write_model(folder / "model", SHAPES["quick" if quick else "full"], dtype)
    loading = {"revision": None, "trust_remote_code": False}
    llm = vllm_options.start(
        str(folder / "model"), loading, dtype, 64, tensor_parallel=1, gpu_memory_utilization=0.8, cpu_kv_cache_gb=1
    )
    from vllm import SamplingParams

    draw = random.Random(0)
    prompts = [words(16, draw) for _ in range(4 if quick else 1000)]
    samples, tokens = (2, 20) if quick else (25, 20)

    def rate(seeded: bool) -> float:
        def sampling(number: int) -> SamplingParams:
            seed = number if seeded else None
            return SamplingParams(
                n=samples, temperature=0.9, top_p=0.8, max_tokens=tokens, min_tokens=tokens, ignore_eos=True, seed=seed
            )

        settings = [sampling(number) for number in range(len(prompts))]
        llm.generate(prompts[:4], settings[:4], use_tqdm=False)
        started = time.perf_counter()
        answers = llm.generate(prompts, settings, use_tqdm=False)
        seconds = time.perf_counter() - started
        return sum(len(one.token_ids) for answer in answers for one in answer.outputs) / seconds

    plain, seeded = rate(False), rate(True)
    vllm_options.end(llm)
    return {
        "tokens a second, a seed per request": seeded,
        "tokens a second, no seed": plain,
        "with seeds / without": seeded / plain,
    }


def edits(folder: Path, device: str, quick: bool) -> dict[str, Any]:
    """Raise 100 neurons' activations by edits of weights, and compare a forward pass with and without."""
    import torch
    from transformers import AutoModelForCausalLM

    from detox_ray.models.edits import offset
    from detox_ray.models.mlp import Mlps

    shape = SHAPES["quick" if quick else "full"]
    dtype = "bfloat16" if device == "cuda" else "float32"
    write_model(folder / "model", shape, dtype)
    model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=getattr(torch, dtype)).to(device).eval()
    mlps = Mlps(model)
    draw = random.Random(0)
    places = [(layer, index) for layer in range(len(mlps)) for index in range(shape["intermediate_size"])]
    neurons = sorted(draw.sample(places, 100))
    ids = torch.randint(2, WORDS, (4 if quick else 32, 32 if quick else 256), device=device)

    @torch.inference_mode()
    def timed() -> tuple[float, torch.Tensor]:
        logits = model(ids).logits
        synchronize(device)
        started = time.perf_counter()
        for _ in range(5):
            logits = model(ids).logits
        synchronize(device)
        return (time.perf_counter() - started) / 5, logits

    plain_s, before = timed()
    with offset(mlps, neurons, [10.0] * len(neurons)):
        edited_s, changed = timed()
    _, after = timed()
    return {
        "edited / plain, seconds": edited_s / plain_s,
        "largest change of a logit": (changed - before).abs().max().item(),
        "undone to the bit": torch.equal(before, after),
    }


def work(part: str, folder: Path, device: str, quick: bool) -> dict[str, Any]:
    """Carry out one part in this process."""
    if part in ("dpo", "qlora"):
        return training(folder, device, quick, {"dpo": "full", "qlora": "qlora"}[part])
    return {"scoring": scoring, "generation": generation, "edits": edits}[part](folder, device, quick)
