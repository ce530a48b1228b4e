"""Requests generated from the OpenAPI document, valid and invalid: none gets a 5xx or no answer."""

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
    """Make a request reach the engines: a served model, few tokens, few samples."""
    schemas = document["components"]["schemas"]
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/compare"):
        sent = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        schema = schemas[sent["$ref"].rpartition("/")[2]]
        properties = schema["properties"]
        for name in {"max_tokens", "max_completion_tokens", "n", "samples"} & set(properties):
            properties[name] |= {"maximum": 4}
        if "samples" in properties:  # left out, they are the experiment's
            schema["required"] += ["samples", "max_tokens"]
        if "model" in properties:
            properties["model"] |= {"enum": MODELS}
        if "models" in properties:
            properties["models"] |= {"items": {"enum": MODELS}}
    return document


def fuzz(schema: Any, examples: int, checks: list[Any], **sent: Any) -> int:
    """Send valid and invalid requests to each operation, and return how many operations there are."""
    operations = [found.ok() for found in schema.get_all_operations()]
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(max_examples=examples, **SETTINGS)
            def attempt(case: schemathesis.Case) -> None:
                case.validate_response(case.call(timeout=120, **sent), checks=checks)

            with suppress(Unsatisfiable):  # an operation without parameters has no wrong requests
                attempt()
    return len(operations)


@pytest.mark.integration
def test_no_request_breaks_the_service(service: Service) -> None:
    document = aimed(httpx.get(f"{service.url}/openapi.json").json())
    schema = schemathesis.openapi.from_dict(document)
    assert fuzz(schema, 8, [not_a_server_error, response_schema_conformance], base_url=service.url) >= 7
