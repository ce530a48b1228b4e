"""An experiment carried through its stages: the plan, the pipeline, the record, and what a finished run holds."""

from detox_ray.run.run_folder import RunFolder, finished_runs, headline, open_run

__all__ = ["RunFolder", "finished_runs", "headline", "open_run"]
