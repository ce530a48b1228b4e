"""Carry an experiment through its stages: the plan, the pipeline, the record, and the folder of a run."""

from detox_ray.run.run_folder import RunFolder, finished_runs, headline, open_run

__all__ = ["RunFolder", "finished_runs", "headline", "open_run"]
