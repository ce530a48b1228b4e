"""A file in the form of MBBQ's answer_detection.py, with few and plain phrases of our own."""

from pathlib import Path

PHRASES = {"before_ans": ["Answer:"], "after_ans": ["is right"], "unknown_ans": ["I would answer option"]}
TRANSLATIONS = {"before_ans": "Antwoord:", "after_ans": "is juist", "unknown_ans": "dat is niet te zeggen"}
PROMPTS = [f"{number}. {{}} {{}} (A): {{}} (B): {{}} (C): {{}} Answer:" for number in range(5)]


def write_rules(folder: Path) -> Path:
    """Write the file, in English and Dutch, beside a statement that must not be executed."""
    spellings = ("a", "A", "a.", "A)", "(A)")
    names = {
        **{
            f"{letter}_list": [each.replace("a", letter).replace("A", letter.upper()) for each in spellings]
            for letter in "abc"
        },
        "extra_ans_detect": {code: {kind: [] for kind in PHRASES} for code in ("en", "nl")},
        **PHRASES,
        "prompts": PROMPTS,
        **{f"trans_{kind}_dict": {"nl": {PHRASES[kind][0]: words}} for kind, words in TRANSLATIONS.items()},
        "trans_prompt_dict": {"nl": {prompt: prompt.replace("Answer", "Antwoord") for prompt in PROMPTS}},
    }
    lines = [f"{name} = {value!r}" for name, value in names.items()]
    file = folder / "answer_detection.py"
    file.write_text("\n".join(["raise SystemExit('executed')", *lines]), encoding="utf-8")
    return file
