"""A run's folder with three models to serve: the small world's, one tuned by LoRA, and one fully tuned."""

from pathlib import Path
from typing import Any

import yaml

from detox_ray.cluster.progress import Progress
from detox_ray.config import Experiment
from detox_ray.config.loading import validate
from detox_ray.models import folder_key
from detox_ray.run.pipeline import check
from detox_ray.run.plan import prepare
from detox_ray.storage import Store
from detox_ray.storage.tables import CHECKPOINTS

LANGUAGES = ["ar", "en", "ja"]
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"  # of full only
CPUS = 0.5  # of each replica, for all share two cores


def write_run(folder: Path, world: Path, **serve: Any) -> str:
    """Write the run's folder. Random changes make the tuned models so different that no two answer alike."""
    block = {"engine": {"cpus": CPUS}, "scoring": {"cpus": CPUS}, **serve}
    experiment = validate(
        {
            "name": "small",
            "storage": str(folder),
            "languages": LANGUAGES,
            "data": {
                "prompts": {"source": "file", "path": str(world / "prompts.jsonl"), "per_language": 5},
                "pairs": {"source": "file", "path": str(world / "pairs.jsonl")},
            },
            "models": {
                "base": {"path": str(world / "model")},
                "lora": {"train": {"parent": "base", "tuning": "lora", "lora": {"r": 8}, "max_steps": 1}},
                "full": {"train": {"parent": "base", "max_steps": 1}},
            },
            "score": {
                "scorers": [
                    {
                        "name": "classifier",
                        "type": "detoxify",
                        "path": str(next((world / "classifier").glob("*.ckpt"))),
                        "huggingface_config": str(world / "classifier"),
                    },
                    {"name": "insults", "type": "lexicon", "path": str(world / "lexicon.json")},
                ]
            },
            "serve": block,
        }
    )
    store = Store.at(experiment.folder)
    check(experiment)
    prepare(experiment, store, Progress())
    store.write_bytes("experiment.yaml", experiment.to_yaml().encode())
    _save_models(experiment, store, world)
    return experiment.folder


def _save_models(experiment: Experiment, store: Store, world: Path) -> None:
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world / "model")

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(world / "model", dtype=torch.float32)

    torch.manual_seed(0)
    full = load()
    with torch.no_grad():
        for name, weights in full.named_parameters():
            if "mlp" in name:
                weights += torch.randn_like(weights) * weights.std()
    config = peft.LoraConfig(
        r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM"
    )
    adapted = peft.get_peft_model(load(), config)
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:
                weights.normal_(0, 0.05)
    target = Path(store.path("checkpoints/lora/adapter"))
    adapted.save_pretrained(target)
    for name, model in (("full", full), ("lora", adapted.merge_and_unload())):
        folder = Path(store.path(f"checkpoints/{name}"))
        model.save_pretrained(folder)
        tokenizer.chat_template = CHAT_TEMPLATE if name == "full" else None
        tokenizer.save_pretrained(folder)
        store.commit(CHECKPOINTS.unit(model=name), folder_key(folder), None)


def rewrite(run: str, **serve: Any) -> None:
    """Change options of the run's serve block."""
    store = Store.at(run)
    experiment = yaml.safe_load(store.read_bytes("experiment.yaml"))
    experiment["serve"] |= serve
    store.write_bytes("experiment.yaml", yaml.safe_dump(experiment).encode())
