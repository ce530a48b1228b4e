"""Entry point for `ray job submit`: a whole experiment.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/run.py configs/toy17.yaml storage=s3://bucket/runs
"""

import sys

from detox_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
