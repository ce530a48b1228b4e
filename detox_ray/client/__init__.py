"""A Python client of `detox-ray serve`: it needs httpx and pydantic, and neither Ray nor torch."""

from detox_ray.client.client import Analysis, Client, Model, ServiceError, Span
from detox_ray.client.wire_types import EVENTS, Comparison, Done, Event, Failed, Sample, Score, Start, Summary, Token

__all__ = [
    "EVENTS",
    "Analysis",
    "Client",
    "Comparison",
    "Done",
    "Event",
    "Failed",
    "Model",
    "Sample",
    "Score",
    "ServiceError",
    "Span",
    "Start",
    "Summary",
    "Token",
]
