"""The driver's thread of a training: it runs Ray Train and then, if the workers held GPUs, the task that exports."""

import os
import threading
from typing import Any

from detox_ray.cluster.ray_internals import draining_nodes, excuse_lost_nodes, lost_nodes, trainer_of_own_ray
from detox_ray.config import TrainConfig
from detox_ray.train import deepspeed_cpu
from detox_ray.train.training_job import BEST_STEP, Outcome, TrainingJob
from detox_ray.train.worker import run_export, run_worker

START_TIMEOUT_SECONDS = 300  # Ray Train's 60 are too few if several workers import torch on few cores
# Ray Train also keeps the latest checkpoint, which may be incomplete if everything is killed. Of the others it keeps
# the best so far, then the latest.
KEEP_CHECKPOINTS = 2
EXPORT_RETRIES = 2  # of an export whose process dies on a living node


class TrainingThread(threading.Thread):
    """A thread that runs `TorchTrainer.fit`, which in the main thread handles Ctrl-C and exits with code 0."""

    def __init__(self, job: TrainingJob, board: Any, local: bool):
        super().__init__(name=f"train {job.name}", daemon=True)
        self._job, self._board, self._local = job, board, local
        self.exports = False  # whether the workers have ended, and a task exports the model
        self.info: dict[str, Any] | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.info = self._train()
        except Exception as error:
            self.error = error

    def _train(self) -> dict[str, Any] | None:
        """Train and export; train again from the last checkpoint if the node is lost that has the trained weights."""
        while True:
            self.exports = False
            outcome: Outcome | None = _trainer(self._job, self._board, self._local).fit().return_value
            if outcome is None:  # the board has an error
                return None
            self.exports = self._job.exports_later
            if not self.exports or _export(self._job, self._board, outcome.node):
                return outcome.info


def exports_later(gpu: bool) -> bool:
    """Return whether the model is exported after the workers have ended, so that nobody holds their GPUs meanwhile.

    Without GPUs, rank 0 exports it, because a task's process would first import the same libraries for some seconds.
    """
    return gpu


def _export(job: TrainingJob, board: Any, node: str) -> bool:
    """Export the model by a task on ``node``, which has the trained weights. Return False if it is lost or leaves.

    The task asks for no memory, because one that asks for more than its node has would wait forever.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    has_cpus = any(each["NodeID"] == node and each["Resources"].get("CPU", 0) >= 1 for each in ray.nodes())
    # The task's process is not used again, because the task changes its environment.
    task = ray.remote(max_calls=1)(run_export).options(
        num_cpus=1 if has_cpus else 0,
        num_gpus=1 if job.config.merge_into == "4-bit" else 0,  # bitsandbytes rounds the parent's weights there
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        max_retries=EXPORT_RETRIES,
    )
    try:
        ray.get(task.remote(job, board))
    except ray.exceptions.RayError:
        if node not in lost_nodes() and node not in draining_nodes():
            raise
        return False
    return True


def _trainer(job: TrainingJob, board: Any, local: bool) -> Any:
    excuse_lost_nodes()
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(START_TIMEOUT_SECONDS))
    if local:  # no node of our own Ray is preempted, so a process less is started
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")  # notices the workers' end sooner than 2 s
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = trainer_of_own_ray() if local else TorchTrainer
    return trainer(
        run_worker,
        train_loop_config={"job": job, "board": board, "nodes_may_leave": not local},
        torch_config=TorchConfig(backend=None if job.gpu else deepspeed_cpu.BACKEND),
        scaling_config=ScalingConfig(
            num_workers=_workers(job.config),
            use_gpu=job.gpu,
            resources_per_worker=job.config.resources_per_worker,
            placement_strategy=job.config.placement,
        ),
        run_config=RunConfig(  # with a known name and path, Ray Train resumes from the last checkpoint
            name=f"{job.name}-{job.key}",
            storage_path=job.store.path("training"),
            storage_filesystem=job.store.fs,
            failure_config=FailureConfig(max_failures=job.config.max_failures),
            checkpoint_config=CheckpointConfig(
                num_to_keep=KEEP_CHECKPOINTS, checkpoint_score_attribute=BEST_STEP, checkpoint_score_order="max"
            ),
        ),
    )


def _workers(config: TrainConfig) -> Any:
    """Return Ray Train's num_workers: a number, or the least and the most, which its annotation does not mention."""
    elastic = config.min_workers is not None and config.min_workers < config.workers
    return (config.min_workers or 0, config.workers) if elastic else config.workers
