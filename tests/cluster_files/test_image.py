"""The image: its Dockerfile by hadolint, and its health check against real HTTP servers."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from owners_schemas import CLUSTER, ROOT

HADOLINT = Path(sys.executable).with_name("hadolint")


def hadolint(dockerfile: str) -> str:
    done = subprocess.run([HADOLINT, "--no-color", "-"], input=dockerfile, capture_output=True, text=True)
    return done.stdout


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert hadolint((ROOT / "Dockerfile").read_text(encoding="utf-8")) == ""


def test_hadolint_finds_what_is_wrong() -> None:
    assert "DL3025" in hadolint('FROM debian:12\nUSER 1000\nCMD "detox-ray" --help\n')


def test_the_image_is_what_clusters_need() -> None:
    """KubeRay probes with wget, `ray up` copies with rsync and uses login shells, and pods mount volumes at /nvme."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert all(part in text for part in (" rsync ", " wget ", "/etc/profile.d/detox_ray.sh", "/nvme", "HEALTHCHECK"))


@contextmanager
def server(status: int) -> Iterator[int]:
    """Run an HTTP server that answers everything with a status, and yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    yield running.server_address[1]
    running.shutdown()
    running.server_close()


def healthy(service: int, raylet: int) -> bool:
    script = CLUSTER / "healthcheck.sh"
    return subprocess.run(["bash", script, str(service), str(raylet)], timeout=30).returncode == 0


@pytest.mark.skipif(not Path("/usr/bin/wget").exists(), reason="no wget")
def test_a_container_is_healthy_if_what_listens_answers() -> None:
    with server(200) as good, server(503) as bad:
        assert healthy(good, good)
        assert not healthy(bad, good)
        assert not healthy(good, bad)
        assert healthy(1, 1)  # nothing listens: a container that carries out a run
