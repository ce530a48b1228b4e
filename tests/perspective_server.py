"""A Perspective server on loopback that answers as it is told, and keeps what it was asked."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Hang(NamedTuple):
    """No answer until the server ends."""


class Close(NamedTuple):
    """The connection is closed without an answer."""


Reply = Answer | Hang | Close


def scores(*attributes: str, value: Any = 0.25) -> Answer:
    of_each = {name: {"summaryScore": {"value": value, "type": "PROBABILITY"}} for name in attributes or ("TOXICITY",)}
    return Answer(200, json.dumps({"attributeScores": of_each, "languages": ["en"]}).encode())


def error(code: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
    body = {"error": {"code": code, "message": message, **more}}
    return Answer(code, json.dumps(body).encode(), headers or {})


class Server:
    """``script``: text -> replies in order, the last one for ever; other texts get 0.25 for what they ask."""

    def __init__(self, script: dict[str, list[Reply]], otherwise: Callable[[dict[str, Any]], Reply] | None):
        self.requests: list[dict[str, Any]] = []  # bodies, in order of arrival
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.url = ""
        self.ended = threading.Event()
        self._script, self._otherwise = script, otherwise or (lambda body: scores(*body["requestedAttributes"]))
        self._asked: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def times(self, text: str) -> int:
        return sum(body["comment"]["text"] == text for body in self.requests)

    def reply(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        text = body["comment"]["text"]
        with self._lock:
            self.requests.append(body)
            self.headers.append(headers)
            self.paths.append(path)
            number = self._asked[text]
            self._asked[text] += 1
        replies = self._script.get(text)
        return self._otherwise(body) if replies is None else replies[min(number, len(replies) - 1)]


@contextmanager
def serve(
    script: dict[str, list[Reply]] | None = None, otherwise: Callable[[dict[str, Any]], Reply] | None = None
) -> Iterator[Server]:
    server = Server(script or {}, otherwise)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            reply = server.reply(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            if isinstance(reply, Answer):
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.body)
                return
            if isinstance(reply, Hang):
                server.ended.wait(10)
            self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Loopback(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256  # the default, 5, refuses connections of a client that opens many at once

    http = Loopback(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    try:
        yield server
    finally:
        server.ended.set()
        http.shutdown()
        http.server_close()
