"""The service as a cluster runs it: from the written file, with the gateway behind Ray Serve's proxy."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import psutil
import pytest
import ray
import yaml
from ray._private.worker import global_worker
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.cluster import Cluster
from detox_ray.serve.http import keys

# Slow: a second service beside the one that all tests share. Ray Serve's proxy, and a gateway that is a deployment, are
# tested only here; keys, request ids and streams have tests that start nothing.
pytestmark = [pytest.mark.integration, pytest.mark.slow]

KEY, ENTRY = keys.new_key("alice")
START_S = 300.0
ASK = {"model": "base", "prompt": "the king", "max_tokens": 4}
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def url(ray_cluster: Cluster, run: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of what `serve run` started from the file, changed to bind loopback only."""
    from ray import serve

    folder = tmp_path_factory.mktemp("deployed")
    file, kept = folder / "serve.yaml", folder / "keys.txt"
    kept.write_text(f"{ENTRY}\n")
    block = ["models=[base]", "scorers=[insults]", f"api_keys={kept}"]
    written = CliRunner().invoke(app, ["serve", run, *block, "--write-config", str(file)])
    assert written.exit_code == 0, written.output
    config = yaml.safe_load(file.read_text())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config["http_options"] |= {"host": "127.0.0.1", "port": probe.getsockname()[1]}
    file.write_text(yaml.safe_dump(config))
    address = ray.get_runtime_context().gcs_address
    command = [str(Path(sys.executable).with_name("serve")), "run", str(file), "--address", address, "--non-blocking"]
    try:
        subprocess.run(command, env=os.environ, check=True, capture_output=True, timeout=START_S)
        found = f"http://127.0.0.1:{config['http_options']['port']}"
        wait_until_ready(found)
        yield found
    finally:
        serve.shutdown()


def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/readyz", timeout=30).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise TimeoutError(url)


def ray_logs() -> list[str]:
    """Return the logs of the Ray that this process started."""
    folder = Path(global_worker.node.get_logs_dir_path())
    return [log.read_text(errors="replace") for log in folder.rglob("*.*") if log.is_file()]


def test_key_opens_it_and_stays_out_of_the_logs(url: str) -> None:
    assert httpx.get(f"{url}/v1/models").status_code == 401
    with pytest.raises(openai.AuthenticationError, match="key is wrong"):
        openai.OpenAI(base_url=f"{url}/v1", api_key="wrong").models.list()
    ours = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    assert [model.id for model in ours.models.list()] == ["base"]
    httpx.post(f"{url}/v1alpha1/comments:analyze?key={KEY}", json={}, timeout=60)
    texts = ray_logs()
    assert any('"path": "/v1/models"' in text for text in texts)  # it is the right place
    assert not any(KEY in text for text in texts)


def test_each_answer_has_one_request_id(url: str) -> None:
    for given in ({}, {"x-request-id": "mine-1"}):
        answer = httpx.post(f"{url}/v1/completions", json=ASK, headers=HEADERS | given, timeout=60)
        assert answer.status_code == 200, answer.text
        (told,) = answer.headers.get_list("x-request-id")
        assert told == given.get("x-request-id", told) and len(told) >= 6


def test_streams_and_comparisons_come_through_the_proxy(url: str) -> None:
    ours = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)
    whole = ours.completions.create(model="base", prompt="the king", max_tokens=8, seed=1, temperature=1)
    parts = ours.completions.create(model="base", prompt="the king", max_tokens=8, seed=1, temperature=1, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text
    body = {"prompt": "the king", "samples": 2, "max_tokens": 4}
    compared = httpx.post(f"{url}/v1/compare", json=body, headers=HEADERS, timeout=60).json()
    assert [sample["scores"]["insults"]["status"] for sample in compared["completions"]] == ["ok", "ok"]


def test_a_gateway_that_is_killed_is_replaced(url: str) -> None:
    family = psutil.Process().children(recursive=True)
    (gateway,) = (process for process in family if ":gateway" in " ".join(process.cmdline()))
    gateway.kill()
    gateway.wait(30)
    wait_until_ready(url)
    assert httpx.post(f"{url}/v1/completions", json=ASK, headers=HEADERS, timeout=60).status_code == 200
