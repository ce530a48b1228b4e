"""The Perspective wire format."""

from fastapi import APIRouter

from detox_ray.serve.gateway import Gateway


def routes(gateway: Gateway) -> APIRouter:
    """None yet."""
    return APIRouter()
