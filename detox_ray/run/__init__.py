"""Carry an experiment through its stages: the plan, the pipeline, the record and the run's folder."""

from detox_ray.run.run_folder import Headline, RunFolder, finished_runs, headline, headlines, open_run

__all__ = ["Headline", "RunFolder", "finished_runs", "headline", "headlines", "open_run"]
