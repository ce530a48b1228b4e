"""Entry point of a Ray job: a whole experiment.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/run.py configs/toy17.yaml storage=s3://bucket/runs
"""

import os
import sys

from detox_ray.cli import main
from detox_ray.jobs.attempts import JOB_VARIABLE

if __name__ == "__main__":
    os.environ.setdefault(JOB_VARIABLE, "job")  # records this attempt in the run's folder
    sys.argv.insert(1, "run")
    main()
