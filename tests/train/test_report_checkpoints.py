"""A training goes on while its checkpoint is uploaded, one checkpoint at a time."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray.train
import torch.distributed
from small_training import train_config

from detox_ray.models import LoadableModel
from detox_ray.storage import Store
from detox_ray.storage.tables import PAIRS
from detox_ray.train import callbacks, checkpoint_files
from detox_ray.train.training_job import TrainingJob, TrainWorker

WAIT_S = 20


@pytest.fixture
def saved(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that saves a checkpoint of a step, as a trainer does, on rank 0 of a world of one."""
    rows = PAIRS.unit(), "0" * 16
    job = TrainingJob("detox", "0" * 16, train_config(), cast(LoadableModel, None), rows, 0, store, False)
    report = callbacks.ReportCheckpoints(job, TrainWorker(0, 0, 1), keep_best=False)

    def uploading(_metrics: object, checkpoint: Any, checkpoint_upload_mode: Any, checkpoint_upload_fn: Any) -> None:
        assert checkpoint_upload_mode == ray.train.CheckpointUploadMode.ASYNC
        name = f"checkpoint_{Path(checkpoint.path).name}"
        threading.Thread(target=checkpoint_upload_fn, args=(checkpoint, name)).start()

    monkeypatch.setattr(ray.train, "report", uploading)
    monkeypatch.setattr(ray.train, "get_context", lambda: SimpleNamespace(get_local_world_size=lambda: 1))
    monkeypatch.setattr(torch.distributed, "barrier", lambda: None)
    monkeypatch.setattr(callbacks, "stored_checkpoint", lambda name: name)

    def save(step: int) -> None:
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.pt").write_bytes(b"weights")
        state = SimpleNamespace(log_history=[], global_step=step)
        report.on_save(cast(Any, SimpleNamespace(output_dir=str(tmp_path))), cast(Any, state), cast(Any, None))

    return SimpleNamespace(save=save, wait=report.wait_for_upload)


def test_training_goes_on_during_an_upload_and_its_next_checkpoint_waits_for_the_end(
    saved: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_answers, upload = threading.Event(), checkpoint_files.upload

    def slow(*args: Any) -> None:
        assert storage_answers.wait(WAIT_S)
        upload(*args)

    monkeypatch.setattr(checkpoint_files, "upload", slow)
    saved.save(5)  # returns although the storage does not answer
    assert store.files("training") == []
    next_save = threading.Thread(target=saved.save, args=(10,))
    next_save.start()
    next_save.join(0.2)
    assert next_save.is_alive()
    storage_answers.set()
    next_save.join(WAIT_S)
    saved.wait()
    uploaded = {file.split("/", 2)[2] for file in store.files("training")}
    names = ("model.pt", "sealed-by-0.json")
    assert uploaded == {f"checkpoint_checkpoint-{step}/{name}" for step in (5, 10) for name in names}
    assert list(tmp_path.glob("checkpoint-*")) == []
