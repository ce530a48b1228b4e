"""Entry point for `ray job submit`: one stage, so that each can have its own cluster.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/stage.py generate configs/toy17.yaml
"""

from detox_ray.cli import main

if __name__ == "__main__":
    main()
