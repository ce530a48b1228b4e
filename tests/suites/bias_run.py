"""A bias-only experiment on tiny models with random weights, one compared with the other."""

import csv
import json
from pathlib import Path
from typing import Any

from tiny_families import tiny
from tiny_tokenizers import FORMS, tokenizer

LANGUAGES = ["en", "fr", "nl"]
TYPES = ("gender", "age")
PAIRS = 24  # of each language but Dutch, which has none


def experiment(folder: Path) -> dict[str, Any]:
    """Write models and sets into the folder, and return the experiment."""
    for name, family in (("base", "llama"), ("tuned", "mistral")):
        words = tokenizer(FORMS["bos"])
        words.save_pretrained(folder / name)
        network = tiny(family, len(words), words.eos_token_id, max_position_embeddings=256)
        network.save_pretrained(folder / name)
    pairs(folder / "pairs.csv")
    questions(folder / "mbbq")
    return {
        "name": "bias-only",
        "storage": str(folder / "runs"),
        "languages": LANGUAGES,
        "models": {
            "base": {"path": str(folder / "base")},
            "tuned": {"path": str(folder / "tuned"), "parent": "base"},
        },
        "bias": {
            "sets": [
                {"name": "mine", "source": "pairs", "path": str(folder / "pairs.csv")},
                {"name": "questions", "source": "bbq", "dialect": "mbbq", "path": str(folder / "mbbq")},
            ],
            "actors": 1,
        },
        "measure": {"bootstrap": 200},
    }


def pairs(path: Path) -> None:
    """Write pairs that are translations of each other by their ids."""
    groups = {"en": ("The old", "The young"), "fr": ("Le vieux", "Le jeune")}
    names = ("man", "fool", "neighbour", "Anna", "Ben", "one", "likes", "kind")
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "more", "less", "language", "type"))
        for language, (more, less) in groups.items():
            for number in range(PAIRS):
                kind = TYPES[number % 2]
                who = f"{names[number % 8]} {names[number // 3]}"
                sides = (f"{more} {who} is late", f"{less} {who} is late")
                sides = sides if number % 3 else sides[::-1]
                rows.writerow((number, *sides, language, kind))


def questions(folder: Path) -> None:
    """Write questions and control questions in the form of MBBQ, in English."""
    folder.mkdir()
    for control in ("", "_control"):
        lines = []
        for number in range(16):
            condition, polarity = ("ambig", "disambig")[number % 2], ("neg", "nonneg")[number // 2 % 2]
            row = {
                "example_id": number,
                "question_index": str(number // 4),
                "question_polarity": polarity,
                "context_condition": condition,
                "category": "Age",
                "answer_info": {"ans0": ["x", "old"], "ans1": ["y", "nonOld"], "ans2": ["z", "unknown"]},
                "additional_metadata": {"stereotyped_groups": ["old"]},
                "context": f"Anna and Ben came {number} times.",
                "question": "Who was late?" if polarity == "neg" else "Who was in time?",
                "ans0": "Anna",
                "ans1": "Ben",
                "ans2": "Unknown",
                "label": 2 if condition == "ambig" else number // 4 % 2,
            }
            lines.append(json.dumps(row))
        (folder / f"Age{control}_en.jsonl").write_text("\n".join(lines), encoding="utf-8")
