"""A world in which it is known why tuning works: one neuron writes the insult, and the tuned model's the opposite."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from detox_ray.cluster.stage import Context
from detox_ray.config.loading import validate
from detox_ray.data import ExperimentData
from detox_ray.run.pipeline import check
from detox_ray.run.plan import prepare
from detox_ray.storage import Store

LANGUAGES = ("de", "en", "es", "fr", "it", "nl")
NEURON = (1, 7)
INSULT, HARMLESS = "fool", "kind"
WORDS = ["<end>", "<unk>", INSULT, HARMLESS, *(f"{code}{number}" for code in LANGUAGES for number in range(12))]
WIDTH = 64


class Silent:
    """Progress that shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def tokenizer() -> PreTrainedTokenizerFast:
    """Every word is a token."""
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="<end>", pad_token="<end>")


def save_models(folder: Path) -> None:
    """Save ``base`` and ``quiet``, which differ in the sign of NEURON's value vector alone."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(WORDS),
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=None,
        eos_token_id=0,
        initializer_range=0.02,
        tie_word_embeddings=False,
    )
    model = GPT2LMHeadModel(config).eval()
    model.generation_config.eos_token_id = 0
    with torch.no_grad():
        embeddings, head = model.transformer.wte.weight, model.lm_head.weight
        for rows in (embeddings, head):
            rows.copy_(torch.nn.functional.normalize(torch.randn_like(rows), dim=1))
        direction = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
        embeddings[WORDS.index(INSULT)] += 3 * direction  # insults that are read lie where insults are written
        embeddings[WORDS.index(HARMLESS)] -= 3 * direction
        head[WORDS.index(INSULT)] = 1.5 * direction
        mlp = model.transformer.h[NEURON[0]].mlp
        mlp.c_fc.weight[:, NEURON[1]] = 0
        mlp.c_fc.bias[NEURON[1]] = 4.0  # active whatever the text
        mlp.c_proj.weight[NEURON[1]] = 0.35 * direction
    words = tokenizer()
    for name, factor in (("base", 1.0), ("quiet", -1.0)):
        with torch.no_grad():
            mlp.c_proj.weight[NEURON[1]] *= factor
        model.save_pretrained(folder / name)
        words.save_pretrained(folder / name)


def experiment(folder: Path, **explain: Any) -> dict[str, Any]:
    """Write the data, and return the experiment's YAML as a mapping."""
    rows = [
        {"text": f"{code}{number} {code}{(number * 5 + 1) % 12}", "language": code}
        for code in LANGUAGES
        for number in range(8)
    ]
    pairs = [
        {
            "prompt": f"en{number % 12}",
            "chosen": f" {HARMLESS} en{number % 12}",
            "rejected": f" {INSULT} en{number % 12}",
        }
        for number in range(40)
    ]
    labelled = [
        {"text": f"{code}{number} {word} {code}{number + 1}", "language": code, "label": int(word == INSULT)}
        for code in LANGUAGES
        for number in range(10)
        for word in (INSULT, HARMLESS)
    ]
    for name, content in (("prompts", rows), ("texts", rows), ("pairs", pairs), ("labelled", labelled)):
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    lexicon = {code: [INSULT] for code in LANGUAGES}
    (folder / "lexicon.json").write_text(json.dumps(lexicon), encoding="utf-8")
    lines = [",".join(LANGUAGES), *(",".join(f"{code}{n} {code}{n + 1}" for code in LANGUAGES) for n in range(10))]
    (folder / "parallel.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def of(name: str) -> dict[str, Any]:
        return {"source": "file", "path": str(folder / f"{name}.jsonl")}

    return {
        "name": "planted",
        "storage": str(folder / "runs"),
        "languages": list(LANGUAGES),
        "data": {"prompts": of("prompts"), "texts": of("texts"), "pairs": {**of("pairs"), "language": "en"}},
        "validity": {**of("labelled"), "minimum": 5},
        "models": {"base": {"path": str(folder / "base")}, "quiet": {"path": str(folder / "quiet"), "parent": "base"}},
        "generate": {"engine": "transformers", "samples": 1, "temperature": 0, "max_tokens": 4},
        "score": {"scorers": [{"name": "insults", "type": "lexicon", "path": str(folder / "lexicon.json")}]},
        "measure": {"bootstrap": 100},
        "explain": {
            "probe": {"method": "mean-difference", "layer": "all"},
            "value_vectors": 1,
            "choose": "positive",
            "lens_tokens": 3,
            "lexicon": str(folder / "lexicon.json"),
            "prompts": 6,
            "new_tokens": 4,
            "random": 2,
            "offsets": {"doses": [-4, -2]},
            "transplants": {"sizes": [1], "directions": ["into-parent", "into-model"]},
            "edited_prompts": 4,
            "edited_texts": 3,
            "parallel": {"source": "file", "path": str(folder / "parallel.csv")},
            **explain,
        },
    }


def context(raw: dict[str, Any]) -> Context:
    """Check and plan the experiment."""
    valid = validate(raw)
    checked: ExperimentData = check(valid)
    return prepare(valid, Store.at(valid.folder), Silent(), checked)  # type: ignore[arg-type]
