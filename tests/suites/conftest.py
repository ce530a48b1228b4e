"""A fixture that refuses the network."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refused(*_: Any) -> None:
        raise AssertionError("a socket is opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    yield
