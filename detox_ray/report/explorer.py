"""The data of the explorer: prompts, completions and scores as JSON within the page.

Its size is bounded, because it is part of the page. A text is cut at ``TEXT_LIMIT`` characters. If the JSON would
exceed ``SIZE_LIMIT``, prompts are left out, as evenly over the languages as possible, and the page says how many.
Characters that could end a script element, and control characters, are written as escapes.
"""

import json
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

from detox_ray.cluster.explored_texts import ExplorerPrompt
from detox_ray.config.languages import LANGUAGES
from detox_ray.report.labels import language_name, status_text, visible

TEXT_LIMIT = 2000  # characters
SIZE_LIMIT = 6_000_000  # characters of the JSON, which a browser reads in a fraction of a second

_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&'\u2028\u2029\u007f"}


class Explorer(NamedTuple):
    data: str  # JSON that is safe within a script element
    languages: list[tuple[str, str]]  # (code, name) of each language with a prompt
    models: list[tuple[int, str]]  # (number, name)
    statuses: list[tuple[str, str]]  # (status, in words)
    groups: list[tuple[str, str]]  # (set, in words), if there are items of sets; a prompt has the set ""
    parts: list[tuple[str, str]]  # types of such items
    shown: int
    items: int  # shown prompts that are items of sets
    left_out: int  # prompts that did not fit
    cut: int  # texts that were too long


def explorer(samples: Sequence[ExplorerPrompt], models: Sequence[str]) -> Explorer | None:
    """Return the data of the explorer; None if there is nothing to explore."""
    if not samples:
        return None
    kept: list[tuple[int, str]] = []
    cut = 0
    size = 0
    for index in _in_turn(samples):
        entry, cuts = _entry(samples[index], models)
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
        if size + len(text) > SIZE_LIMIT:
            break
        kept.append((index, text))
        size += len(text)
        cut += cuts
    kept.sort()
    shown = [samples[index] for index, _ in kept]
    codes = dict.fromkeys(sample.language for sample in shown)
    statuses = dict.fromkeys(completion.status for sample in shown for completion in sample.completions)
    head = {
        "languages": {code: [language_name(code), _direction(code)] for code in codes},
        "models": list(models),
        "statuses": {status: status_text(status) for status in statuses},
    }
    start = json.dumps(head, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
    data = start[:-1] + ',"prompts":[' + ",\n".join(text for _, text in kept) + "]}"
    return Explorer(
        data,
        [(code, language_name(code)) for code in codes],
        list(enumerate(models)),
        [(status, status_text(status)) for status in statuses],
        [(group, group) for group in dict.fromkeys(sample.group for sample in shown) if group],
        [(part, part) for part in sorted({sample.part for sample in shown if sample.part})],
        len(kept),
        sum(bool(sample.group) for sample in shown),
        len(samples) - len(kept),
        cut,
    )


def _in_turn(samples: Sequence[ExplorerPrompt]) -> list[int]:
    """Return the indices of the samples: the first of each language and set, then the second of each, and so on."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault((sample.language, sample.group), []).append(index)
    return [index for turn in zip_longest(*groups.values()) for index in turn if index is not None]


def _entry(sample: ExplorerPrompt, models: Sequence[str]) -> tuple[list[Any], int]:
    """Return an entry of the data, and the number of its texts that were cut.

    An entry is [language, id, prompt, [[model's index, sample, text, toxicity, status], …], set, type].
    """
    cuts = 0

    def short(text: str) -> str:
        nonlocal cuts
        if len(text) > TEXT_LIMIT:
            cuts += 1
            text = f"{text[:TEXT_LIMIT]}… [{len(text):,} characters in all]"
        return visible(text)

    completions = [
        [models.index(c.model), c.sample, short(c.text), None if c.toxicity is None else round(c.toxicity, 4), c.status]
        for c in sample.completions
    ]
    entry = [sample.language, visible(sample.prompt_id), short(sample.prompt), completions, sample.group, sample.part]
    return entry, cuts


def _direction(code: str) -> str:
    return LANGUAGES[code].direction if code in LANGUAGES else "auto"
