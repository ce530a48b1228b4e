"""A stand-in for a Ray head's dashboard: the routes of its REST API that detox_ray uses, over real HTTP."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class FakeHead:
    """The head's state, which tests set."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.packages: dict[str, bytes] = {}
        self.host_names = [socket.gethostname()]
        self.resources: dict[str, float] = {"driver": 16.0, "CPU": 0.0}
        self.token: str | None = None
        self.failures = 0  # so many requests get a 503 first
        self.address = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return status and content of the answer to a request."""
        if self.failures:
            self.failures -= 1
            return 503, "starting"
        if path == "/api/version":
            return 200, {"version": "4", "ray_version": "2.60.0", "session_name": "session"}
        if path.startswith("/api/packages/"):
            if method == "PUT":
                self.packages[path] = body
            return (200, {}) if path in self.packages else (404, "no such package")
        if path == "/nodes":
            return 200, {"result": True, "data": {"hostNameList": self.host_names}}
        if path == "/api/v0/nodes":
            node = {"is_head_node": True, "state": "ALIVE", "resources_total": self.resources}
            return 200, {"result": True, "data": {"result": {"result": [node]}}}
        if path == "/api/jobs/":
            return self._submit(json.loads(body)) if method == "POST" else (200, list(self.jobs.values()))
        job_id, _, action = path.removeprefix("/api/jobs/").partition("/")
        if job_id not in self.jobs:
            return 404, f"Job {job_id} does not exist"
        if action == "logs":
            return 200, {"logs": self.logs.get(job_id, "")}
        if action == "stop":
            self.jobs[job_id]["status"] = "STOPPED"
            return 200, {"stopped": True}
        return 200, self.jobs[job_id]

    def _submit(self, request: dict[str, Any]) -> tuple[int, Any]:
        job_id = request["submission_id"]
        if job_id in self.jobs:
            return 500, f"Job with submission_id {job_id} already exists."
        started = int(time.time() * 1000) + len(self.jobs)
        self.jobs[job_id] = {**request, "status": "RUNNING", "type": "SUBMISSION", "start_time": started}
        return 200, {"job_id": job_id, "submission_id": job_id}

    def end(self, job_id: str, state: str, exit_code: int | None = None) -> None:
        self.jobs[job_id] |= {"status": state, "driver_exit_code": exit_code, "message": f"it is {state}"}


@contextmanager
def fake_head() -> Iterator[FakeHead]:
    """Serve a fake head on loopback and a free port."""
    head = FakeHead()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if head.token is not None and self.headers.get("authorization") != f"Bearer {head.token}":
                status, content = 401, "Unauthorized: Missing authentication token"
            else:
                status, content = head.answer(self.command, urlsplit(self.path).path, body)
            data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    head.address = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield head
    server.shutdown()
    server.server_close()
