"""Small tables in the committed schemas, from plain Python values."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from detox_ray.storage.tables import (
    DIVERSITIES,
    EMPTY,
    FLUENCIES,
    GENERATIONS,
    IDENTIFICATIONS,
    LIKELIHOODS,
    OK,
    PROMPTS,
    SCORES,
    TOO_SHORT,
)

# (completion, value) or (completion, status other than ok); the value of white space stands beside the status "empty"
Scored = tuple[str, float | str]


def prompts(texts: Sequence[str]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{i}", "text": text, "source": "test", "source_index": str(i)} for i, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=PROMPTS.columns)


def generations(completions: Sequence[Sequence[Scored]]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{i}", "sample": k, "text": text, "tokens": 1, "finish_reason": "stop", "seed": k}
        for i, samples in enumerate(completions)
        for k, (text, _) in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATIONS.columns)


def scores(completions: Sequence[Sequence[Scored]], attribute: str = "toxicity") -> pa.Table:
    rows = [
        {
            "prompt_id": f"p{i}",
            "sample": k,
            "attribute": attribute,
            "value": None if isinstance(value, str) else value,
            "status": value if isinstance(value, str) else OK if text.strip() else EMPTY,
        }
        for i, samples in enumerate(completions)
        for k, (text, value) in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES.columns)


def completions(values: Sequence[Sequence[float | str]], blank: float | str = EMPTY) -> list[list[Scored]]:
    """Completions that are only told apart by their score; an empty one has the empty text, and ``blank`` for score."""
    return [[("", blank) if value == EMPTY else ("text", value) for value in samples] for samples in values]


def likelihoods(rows: Mapping[str, tuple[int, float | str]]) -> pa.Table:
    """text_id -> (tokens, nll or status)."""
    out = [
        {
            "text_id": name,
            "tokens": tokens,
            "nll": None if isinstance(nll, str) else nll,
            "status": nll if isinstance(nll, str) else OK,
        }
        for name, (tokens, nll) in rows.items()
    ]
    return pa.Table.from_pylist(out, schema=LIKELIHOODS.columns)


def identifications(
    completions: Sequence[Sequence[str]],
    lines: Sequence[Sequence[tuple[int, int]]] | None = None,
    english_words: Sequence[Sequence[bool]] | None = None,
) -> pa.Table:
    """Per prompt and sample: a language code or a status other than ok; (long lines, wrong ones); an English word."""
    rows = []
    for i, samples in enumerate(completions):
        for k, found in enumerate(samples):
            known = found not in (EMPTY, TOO_SHORT, "failed")
            long, wrong = lines[i][k] if lines else (0, 0)
            rows.append(
                {
                    "prompt_id": f"p{i}",
                    "sample": k,
                    "identified": found if known else None,
                    "confidence": 0.9 if known else None,
                    "lines": long,
                    "wrong_lines": wrong,
                    "english_word": english_words[i][k] if english_words else False,
                    "status": OK if known else found,
                }
            )
    return pa.Table.from_pylist(rows, schema=IDENTIFICATIONS.columns)


Evaluated = tuple[int, float, int, float] | str  # (prompt tokens, prompt nll, full tokens, full nll) or a status


def fluencies(completions: Sequence[Sequence[Evaluated]]) -> pa.Table:
    rows = []
    for i, samples in enumerate(completions):
        for k, sums in enumerate(samples):
            prompt, prompt_nll, full, full_nll = (1, None, 1, None) if isinstance(sums, str) else sums
            rows.append(
                {
                    "prompt_id": f"p{i}",
                    "sample": k,
                    "prompt_tokens": prompt,
                    "prompt_nll": prompt_nll,
                    "full_tokens": full,
                    "full_nll": full_nll,
                    "status": sums if isinstance(sums, str) else OK,
                }
            )
    return pa.Table.from_pylist(rows, schema=FLUENCIES.columns)


def diversities(prompt_units: Sequence[Sequence[str]], completions: Sequence[Sequence[Sequence[str]]]) -> pa.Table:
    """From the units of each prompt and of each of its completions."""
    rows = []
    for i, (own, samples) in enumerate(zip(prompt_units, completions, strict=True)):
        before: dict[int, set[tuple[str, ...]]] = {1: set(), 2: set(), 3: set()}
        for k, units in enumerate(samples):
            grams = {n: [tuple(units[j : j + n]) for j in range(len(units) - n + 1)] for n in before}
            rows.append(
                {
                    "prompt_id": f"p{i}",
                    "sample": k,
                    "unigrams": len(grams[1]),
                    "bigrams": len(grams[2]),
                    "trigrams": len(grams[3]),
                    **{f"distinct_{n}": len(set(grams[n]) - before[n]) for n in grams},
                    "novel": len(set(units) - set(own)),
                    "status": OK if units else EMPTY,
                }
            )
            for n in before:
                before[n] |= set(grams[n])
    return pa.Table.from_pylist(rows, schema=DIVERSITIES.columns)
