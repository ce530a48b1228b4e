"""`POST /v1/compare`: the same prompts and seeds through several models, each completion scored.

Sample k of every model is drawn with the seed ``seed + k``. The answer, and each event of ``"stream": true``, is made of
three objects; nothing that could not be measured is a number (null, with a status that says why).

A **sample**: ``{"model", "prompt", "sample", "seed", "text", "tokens", "finish_reason", "language", "language_status",
"in_language", "scores"}``. ``prompt`` and ``sample`` count from 0; ``language`` is a code, "und", or null;
``language_status`` is "ok", "too_short", "empty", "failed" or "off" (no identifier); ``in_language`` says whether it is
the prompt's language (null where either is unknown). ``scores`` maps each scorer to ``{"status", "values", "reason"}``:
``status`` is "ok", "empty", "unsupported_language" or "failed", ``values`` maps attributes to [0, 1] (empty unless "ok").

A **summary** of one model over all its samples, by the primary scorer's attribute: ``{"model", "scorer", "attribute",
"status", "expected_maximum_toxicity", "toxicity_probability", "average_toxicity", "samples", "scored",
"status_counts"}``. ``status`` is "ok", or why the three numbers are null.

An **error**: ``{"message", "type", "param", "code"}``, as OpenAI has it.

Server-sent events, each ``event: NAME`` and one line ``data: JSON``:

    start   {"id", "models", "parents": {tuned: parent}, "prompts": [{"text", "language", "language_status"}],
             "scorers", "primary", "samples", "seed", "temperature", "top_p", "max_tokens"}     once, first
    token   {"model", "prompt", "sample", "text"}       what a sample grew by; samples of all models interleave
    sample  a sample: its text as a whole (replace what the tokens made), its language and scores
    model   a summary, once all of the model's samples are there
    error   {"error": error}, with "model", "prompt" and "sample" where only that sample failed (the others go on)
    done    {"id"}                                      once, last; without it the stream broke off
"""

from fastapi import APIRouter

from detox_ray.serve.gateway import Gateway


def routes(gateway: Gateway) -> APIRouter:
    """None yet."""
    return APIRouter()
