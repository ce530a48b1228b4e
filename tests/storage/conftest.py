"""The store of the room's tests, on a local disk and on a real S3 API server."""

from pathlib import Path

import pytest

from detox_ray.storage import Store


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    if request.param == "local":
        return Store.at(str(tmp_path / "runs" / "mine"))
    for name, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    endpoint = request.getfixturevalue("s3_endpoint")
    return Store.at(f"s3://bucket/{tmp_path.name}/mine?endpoint_override={endpoint}&scheme=http&region=us-east-1")
