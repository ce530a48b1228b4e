"""Model folders: what is refused before anything is loaded, and the key that follows the weights."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from detox_ray.config import TOY17, InputError
from detox_ray.estimate.dimensions import model_config
from detox_ray.models import LoadableModel, check, folder_key, is_folder, resolve_path
from detox_ray.storage import Store

FIELD = "models.base.path"
WHOLE = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}"}


def folder(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def without(name: str) -> dict[str, bytes]:
    return {key: value for key, value in WHOLE.items() if key != name}


def test_a_whole_folder_is_accepted(tmp_path: Path) -> None:
    assert check(FIELD, str(folder(tmp_path / "m", WHOLE))) == []


@pytest.mark.parametrize(
    ("files", "value", "rule"),
    [
        (without("model.safetensors"), None, "is a model folder without weights: it has no *.safetensors"),
        (without("model.safetensors") | {"pytorch_model.bin": b"x"}, "pytorch_model.bin", "holds only pickled weights"),
        (without("model.safetensors") | {"a.pt": b"", "b.ckpt": b""}, "a.pt, b.ckpt", "convert them to safetensors"),
        (without("config.json"), None, "is not a Hugging Face model folder: it has no config.json"),
        (without("tokenizer.json"), None, "is a model folder without a tokenizer"),
        ({}, None, "it has no config.json"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, files: dict[str, bytes], value: str | None, rule: str
) -> None:
    path = str(folder(tmp_path / "m", files))
    (problem,) = check(FIELD, path)
    assert problem.field == FIELD
    assert problem.value == (value or path)
    assert rule in problem.rule


def test_safetensors_beside_pickled_weights_are_enough(tmp_path: Path) -> None:
    assert check(FIELD, str(folder(tmp_path / "m", WHOLE | {"pytorch_model.bin": b"x"}))) == []


def test_sharded_weights_are_accepted_whole_and_refused_with_the_missing_files_named(tmp_path: Path) -> None:
    shards = [f"model-0000{number}-of-00005.safetensors" for number in range(1, 6)]
    index = {"metadata": {}, "weight_map": {f"layer.{n}.{w}": s for n, s in enumerate(shards) for w in "ab"}}
    files = without("model.safetensors") | {"model.safetensors.index.json": json.dumps(index).encode()}
    assert check(FIELD, str(folder(tmp_path / "whole", files | dict.fromkeys(shards, b"weights")))) == []
    (problem,) = check(FIELD, str(folder(tmp_path / "most", files | dict.fromkeys(shards[:4], b"weights"))))
    assert (problem.field, problem.value) == (FIELD, shards[4])
    assert problem.rule == "is missing: 1 of the 5 files that model.safetensors.index.json names are not in the folder"
    (problem,) = check(FIELD, str(folder(tmp_path / "one", files | dict.fromkeys(shards[:1], b"weights"))))
    assert problem.value == f"{', '.join(shards[1:4])}, …"


@pytest.mark.parametrize("index", [b"", b"[]", b'{"weight_map": []}', b'{"other": {}}', b"\xff"])
def test_an_index_that_cannot_be_read_is_refused(tmp_path: Path, index: bytes) -> None:
    (problem,) = check(FIELD, str(folder(tmp_path / "m", WHOLE | {"model.safetensors.index.json": index})))
    assert (problem.value, "weight_map" in problem.rule) == ("model.safetensors.index.json", True)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent", tmp_path / "file"):
        (problem,) = check(FIELD, str(path))
        assert problem.rule == "must be a hub id (org/name), toy17, s3://… or gs://…, or an existing folder"


@pytest.mark.parametrize("path", [TOY17, "ai-forever/mGPT", "gpt2"])
def test_hub_ids_and_the_built_in_world_are_left_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not is_folder(path)
    assert check(FIELD, path) == []


def test_a_relative_folder_is_a_folder_and_resolved_to_an_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path / "mine", WHOLE)
    monkeypatch.chdir(tmp_path)
    model = resolve_path("base", "mine", None, "float32")
    assert model.location == str(tmp_path / "mine")
    assert (model.name, model.in_store, model.revision, model.dtype) == ("base", False, None, "float32")
    assert model.key == folder_key(tmp_path / "mine")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_the_key_changes_with_weights_config_and_tokenizer(tmp_path: Path, name: str) -> None:
    before = folder_key(folder(tmp_path / "m", WHOLE))
    assert folder_key(folder(tmp_path / "copy", WHOLE)) == before  # wherever it lies
    assert folder_key(folder(tmp_path / "m", {name: b"other"})) != before
    assert folder_key(folder(tmp_path / "m", WHOLE)) == before


def test_the_key_does_not_change_with_what_loading_ignores(tmp_path: Path) -> None:
    before = folder_key(folder(tmp_path / "m", WHOLE))
    assert folder_key(folder(tmp_path / "m", {"README.md": b"words", "training.log": b"x"})) == before


def test_remote_code_is_never_trusted() -> None:
    model = LoadableModel("base", "org/model", False, "abc123", "auto", "k")
    assert model.loading() == {"revision": "abc123", "trust_remote_code": False}


def test_a_model_in_the_store_is_loaded_from_its_local_copy(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path))
    store.write_bytes("checkpoints/detox/config.json", json.dumps({}).encode())
    model = LoadableModel("detox", "checkpoints/detox", True, None, "auto", "k")
    assert (Path(model.local_path(store)) / "config.json").is_file()


def hub_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    response: Any = SimpleNamespace(headers={}, request=None)
    return kind("404 Client Error", response=response)


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (hub_error(RepositoryNotFoundError), "is not on the hub, or is private: check the id"),
        (hub_error(GatedRepoError), "is gated: accept its terms"),
        (hub_error(RevisionNotFoundError), "has no revision 'v9' on the hub"),
        (ConnectionError("no route\nto host"), r"the hub cannot be reached \(no route\): download it"),
    ],
)
def test_a_hub_id_that_gives_nothing_says_why(monkeypatch: pytest.MonkeyPatch, error: Exception, rule: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(HfApi, "model_info", refuse)
    with pytest.raises(InputError, match=rule):
        resolve_path("base", "org/none", "v9", "auto")
    with pytest.raises(InputError, match=rule):
        model_config("base", "org/none", "v9", None)


@pytest.mark.parametrize(
    ("files", "refused"), [(["config.json", "model.safetensors"], False), (["pytorch_model.bin"], True)]
)
def test_hub_model_is_pinned_to_its_commit_unless_its_weights_are_pickled(
    monkeypatch: pytest.MonkeyPatch, files: list[str], refused: bool
) -> None:
    from huggingface_hub.hf_api import ModelInfo

    answer = ModelInfo(id="org/model", sha="c0ffee", siblings=[{"rfilename": name} for name in files])
    monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: answer)
    if refused:
        with pytest.raises(InputError, match=r"org/model has no \*\.safetensors on the hub"):
            resolve_path("base", "org/model", None, "auto")
    else:
        assert resolve_path("base", "org/model", None, "auto").revision == "c0ffee"
