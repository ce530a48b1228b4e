"""Models in a bucket: looked at without their weights, fetched once, and made again under a new key if they change."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from detox_ray import models
from detox_ray.models import hub_mirror, limits
from detox_ray.models.remote_models import local_folder
from detox_ray.storage import Store
from detox_ray.storage.folder import Folder

FILES = {
    "config.json": b'{"max_position_embeddings": 64, "model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": b"weights",
}


@pytest.fixture
def uri(s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A model's folder in the bucket."""
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    uri = f"s3://bucket/{tmp_path.name}/model?endpoint_override={s3_endpoint}&scheme=http&region=us-east-1"
    for name, content in FILES.items():
        Folder(uri).write_bytes(name, content)
    return uri


def test_a_model_in_a_bucket_is_checked_without_its_weights(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = Folder.read_bytes
    monkeypatch.setattr(Folder, "read_bytes", lambda self, name: read.append(name) or whole(self, name))
    assert models.check("models.base.path", uri) == []
    assert limits.files_of(uri, None).config["max_position_embeddings"] == 64  # type: ignore[union-attr]
    assert sorted(read) == ["config.json", "tokenizer.json"]
    assert (local_folder(uri) / "model.safetensors").stat().st_size == len(FILES["model.safetensors"])


def test_an_actor_gets_the_whole_model(uri: str, tmp_path: Path) -> None:
    model = models.resolve_path("base", uri, None, "auto")
    folder = Path(model.local_path(Store(str(tmp_path / "run"))))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES


def test_other_weights_are_another_model(uri: str) -> None:
    before = models.resolve_path("base", uri, None, "auto").key
    assert models.resolve_path("base", uri, None, "auto").key == before
    Folder(uri).write_bytes("model.safetensors", b"other weights")
    assert models.resolve_path("base", uri, None, "auto").key != before


def test_a_model_of_the_hub_is_copied_into_the_storage_once(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name, content in FILES.items():
        (snapshot / name).write_bytes(content)
    asked: list[str] = []
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **_: asked.append(name) or str(snapshot))
    model = models.LoadableModel("base", "org/model", False, "commit", "auto", "k" * 16)
    for _ in range(2):
        mirrored = hub_mirror.mirrored(model, Folder(uri), lambda line: None)
    assert asked == ["org/model"]
    Folder(mirrored.mirror or "").delete("model.safetensors")  # as a bucket's lifecycle rule does
    mirrored = hub_mirror.mirrored(model, Folder(uri), lambda line: None)
    assert asked == ["org/model", "org/model"]
    assert mirrored.key == model.key
    assert mirrored.loading()["revision"] is None  # it is loaded from a folder
    folder = Path(mirrored.local_path(Store(str(tmp_path / "run"))))
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES


def test_a_folder_that_is_not_in_the_bucket_is_a_problem_of_the_field(uri: str) -> None:
    place, _, options = uri.partition("?")
    (problem,) = models.check("models.base.path", f"{place}-other?{options}")
    assert problem.field == "models.base.path"
    assert "there is no such folder" in problem.rule or "no config.json" in problem.rule


def test_a_bucket_without_weights_is_refused(uri: str) -> None:
    folder = Folder(uri)
    assert isinstance(folder.fs, pafs.S3FileSystem)
    folder.delete("model.safetensors")
    (problem,) = models.check("models.base.path", uri)
    assert "without weights" in problem.rule
