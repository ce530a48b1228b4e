"""The command line with the example stage registered, as a package that adds a stage would start it."""

import example_stage

from detox_ray.run.stages import STAGES

if __name__ == "__main__":
    STAGES.append(example_stage.LoudnessStage)

    from detox_ray.cli import main  # its commands are those of the registered stages

    main()
