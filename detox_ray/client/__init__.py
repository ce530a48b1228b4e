"""A Python client of `detox-ray serve`. It needs httpx and pydantic, and nothing else of detox_ray."""

from detox_ray.client.client import Client, CommentAnalysis, ScoredSpan, ServiceError
from detox_ray.client.wire_types import (
    EVENTS,
    ComparedPrompt,
    CompareResult,
    CompletionScore,
    DoneEvent,
    Event,
    FailureEvent,
    ModelSummary,
    ScoredSample,
    ServedModel,
    StartEvent,
    TokenEvent,
)

__all__ = [
    "EVENTS",
    "Client",
    "CommentAnalysis",
    "CompareResult",
    "ComparedPrompt",
    "CompletionScore",
    "DoneEvent",
    "Event",
    "FailureEvent",
    "ModelSummary",
    "ScoredSample",
    "ScoredSpan",
    "ServedModel",
    "ServiceError",
    "StartEvent",
    "TokenEvent",
]
