"""Requests made up from the OpenAPI document, right ones and wrong ones: no answer is a 5xx, or none at all."""

from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, response_schema_conformance
from service import Service

SETTINGS: dict[str, Any] = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}
MODELS = ["base", "lora", "full"]


def aimed(document: dict[str, Any]) -> dict[str, Any]:
    """So that requests reach the engines: models that are served, and few tokens."""
    for schema in document["components"]["schemas"].values():
        properties = schema.get("properties", {})
        for name in ("max_tokens", "max_completion_tokens"):
            if name in properties:
                properties[name] |= {"maximum": 4}
        if "n" in properties:
            properties["n"] |= {"maximum": 4}
        if "prompt" in properties or "messages" in properties:
            for name, place in (
                ("model", properties.get("model")),
                ("models", properties.get("models", {}).get("items")),
            ):
                if place is not None and name in properties:
                    place |= {"enum": MODELS}
    return document


def fuzz(schema: Any, examples: int, checks: list[Any], **sent: Any) -> int:
    """Of each operation so many right requests, and so many wrong ones; how many operations there are."""
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=examples, **SETTINGS)
            def attempt(case: schemathesis.Case) -> None:
                case.validate_response(case.call(**sent), checks=checks)

            with suppress(Unsatisfiable):  # an operation without parameters has no wrong requests
                attempt()
    return len(operations)


@pytest.mark.integration
def test_no_request_breaks_the_service(service: Service) -> None:
    document = aimed(httpx.get(f"{service.url}/openapi.json").json())
    schema = schemathesis.openapi.from_dict(document)
    assert fuzz(schema, 8, [not_a_server_error, response_schema_conformance], base_url=service.url) >= 7
