"""API keys: how they are made, kept as hashes, and required."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import client_of, gateway
from typer.testing import CliRunner

from detox_ray.cli import app as command_line
from detox_ray.config import ConfigError, ServeConfig
from detox_ray.serve.fastapi_app import fastapi_app
from detox_ray.serve.http import keys

KEY, ENTRY = keys.new_key("alice")
OTHER, OTHER_ENTRY = keys.new_key("bob")


def test_command_shows_key_once_and_line_to_keep() -> None:
    said = CliRunner().invoke(command_line, ["keys", "alice"])
    entry = said.stdout.strip()
    key = said.stderr.split()[-1]
    assert said.exit_code == 0 and key.startswith(keys.PREFIX) and key not in entry
    (found,) = keys.required_keys(ServeConfig(), {keys.ENVIRONMENT: entry}) or []
    assert keys.key_holder(key, [found]) == "alice"
    assert CliRunner().invoke(command_line, ["keys", "a:b"]).exit_code == 2


def test_holder_is_found_among_several_and_nobody_else() -> None:
    assert keys.key_holder(KEY, [OTHER_ENTRY, ENTRY]) == "alice"
    assert keys.key_holder(KEY, [OTHER_ENTRY]) is None
    assert keys.key_holder(ENTRY.digest, [ENTRY]) is None  # who reads the file cannot get in with it
    assert keys.key_holder("naïve ключ", [ENTRY]) is None


def test_keys_are_on_beyond_loopback_or_where_given(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"# of the lab\n\n{ENTRY}\n{OTHER_ENTRY}\n")
    both = {keys.ENVIRONMENT: f"{ENTRY},{OTHER_ENTRY}"}
    assert keys.required_keys(ServeConfig(), {}) is None
    assert keys.required_keys(ServeConfig(), both) == [ENTRY, OTHER_ENTRY]
    assert keys.required_keys(ServeConfig(api_keys=str(file)), {}) == [ENTRY, OTHER_ENTRY]
    assert keys.required_keys(ServeConfig(require_key=False), both) is None
    assert keys.required_keys(ServeConfig(host="0.0.0.0", require_key=False), {}) is None
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        with pytest.raises(ConfigError, match=r"serve\.api_keys.*beyond loopback"):
            keys.required_keys(ServeConfig(host=host), {})
        assert keys.required_keys(ServeConfig(host=host), both) == [ENTRY, OTHER_ENTRY]
    for host in ("127.0.0.1", "::1", "localhost", "127.1.2.3"):
        assert keys.required_keys(ServeConfig(host=host), {}) is None


def test_malformed_line_is_told_of_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "keys.txt"
    file.write_text(f"{ENTRY}\n{KEY}\n")
    with pytest.raises(ConfigError) as told:
        keys.required_keys(ServeConfig(api_keys=str(file)), {})
    assert "entry 2" in str(told.value) and KEY not in str(told.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.required_keys(ServeConfig(api_keys=str(tmp_path / "none")), {})


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fastapi_app(gateway(tmp_path_factory.mktemp("storage"), keys=[ENTRY, OTHER_ENTRY]))


def ask(app: Any, path: str, method: str = "GET", **sent: Any) -> Any:
    async def go() -> Any:
        async with client_of(app) as http:
            return await http.request(method, path, **sent)

    return asyncio.run(go())


def test_key_opens_and_its_holder_is_logged(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask(app, "/v1/models", headers={"authorization": f"Bearer {KEY}"})
    said = capsys.readouterr().out
    assert answer.status_code == 200
    assert json.loads(said)["key"] == "alice" and KEY not in said and ENTRY.digest not in said


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/nothing", "/v1alpha1/x", "/runs.json"])
def test_without_key_nothing_is_open(app: Any, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {KEY}"}):
        answer = ask(app, path, headers=headers)
        assert answer.status_code == 401, answer.text
        assert answer.headers["www-authenticate"] == "Bearer"


def test_openapi_document_says_that_a_key_is_needed(app: Any) -> None:
    document = ask(app, "/openapi.json", headers={"authorization": f"Bearer {KEY}"}).json()
    assert document["security"] == [{"key": []}]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_key(app: Any, path: str) -> None:
    assert ask(app, path).status_code == 200


def test_pages_are_open_for_reading_only(app: Any) -> None:
    assert ask(app, "/").status_code != 401
    assert ask(app, "/", "POST").status_code == 401


@pytest.mark.parametrize(
    "sent",
    [{"headers": {"x-goog-api-key": KEY}}, {"params": {"key": KEY}}, {"headers": {"authorization": f"Bearer {KEY}"}}],
)
def test_perspective_takes_the_key_where_google_does(app: Any, sent: Any) -> None:
    assert ask(app, "/v1alpha1/nothing", "POST", **sent).status_code == 404
    if "authorization" not in sent.get("headers", {}):
        assert ask(app, "/v1/nothing", "POST", **sent).status_code == 401


def test_wrong_key_on_perspective_is_told_in_googles_form(app: Any) -> None:
    error = ask(app, "/v1alpha1/comments:analyze", "POST", json={}).json()["error"]
    assert (error["code"], error["status"]) == (401, "UNAUTHENTICATED")
