"""Small tables in the committed schemas, from plain Python values."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from detox_ray.tables import EMPTY, GENERATIONS, LIKELIHOODS, OK, PROMPTS, SCORES

Scored = tuple[str, float | str]  # (completion, value) or (completion, status other than ok)


def prompts(texts: Sequence[str]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{i}", "text": text, "source": "test", "source_index": str(i)} for i, text in enumerate(texts)
    ]
    return pa.Table.from_pylist(rows, schema=PROMPTS)


def generations(completions: Sequence[Sequence[Scored]]) -> pa.Table:
    rows = [
        {"prompt_id": f"p{i}", "sample": k, "text": text, "tokens": 1, "finish_reason": "stop", "seed": k}
        for i, samples in enumerate(completions)
        for k, (text, _) in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=GENERATIONS)


def scores(completions: Sequence[Sequence[Scored]], attribute: str = "toxicity") -> pa.Table:
    rows = [
        {
            "prompt_id": f"p{i}",
            "sample": k,
            "attribute": attribute,
            "value": None if isinstance(value, str) else value,
            "status": value if isinstance(value, str) else OK,
        }
        for i, samples in enumerate(completions)
        for k, (_, value) in enumerate(samples)
    ]
    return pa.Table.from_pylist(rows, schema=SCORES)


def completions(values: Sequence[Sequence[float | str]]) -> list[list[Scored]]:
    """Completions that are only told apart by their score; an empty one has the empty text."""
    return [[("" if value == EMPTY else "text", value) for value in samples] for samples in values]


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
    return pa.Table.from_pylist(out, schema=LIKELIHOODS)
