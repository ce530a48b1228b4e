"""Tiny random models, and questions in the form of Global-MMLU."""

from pathlib import Path
from typing import Any

import torch
from tiny_tokenizers import FORMS, save, tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from detox_ray.models.causal_model import CausalModel

LETTERS = "ABCD"


def random_model(folder: Path, seed: int = 0, form: str = "bos", positions: int = 4096) -> CausalModel:
    words = tokenizer(FORMS[form])
    save(folder, words, positions)
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return CausalModel(str(folder), {}, "float32")


def made_up(count: int, subjects: tuple[str, ...] = ("physics", "law")) -> list[dict[str, Any]]:
    """Questions in the form of Global-MMLU."""
    return [
        {
            "sample_id": f"{subject}/test/{number}",
            "subject": subject,
            "subject_category": "STEM" if subject == "physics" else "Social Sciences",
            "question": f" Which {subject} number is {number}? ",
            **{f"option_{letter.lower()}": f"{number + place}" for place, letter in enumerate(LETTERS)},
            "answer": LETTERS[number % 4],
            "cultural_sensitivity_label": "-" if number % 3 else "CS",
        }
        for subject in subjects
        for number in range(count)
    ]
