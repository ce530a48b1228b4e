"""Entry point of a Ray job: one stage, so that each stage can use its own cluster.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/stage.py generate configs/toy17.yaml
"""

import os

from detox_ray.cli import main
from detox_ray.jobs.attempts import JOB_VARIABLE

if __name__ == "__main__":
    os.environ.setdefault(JOB_VARIABLE, "job")  # records this attempt in the run's folder
    main()
