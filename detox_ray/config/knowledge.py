"""The block `knowledge`: what a model knows, by tasks of the lm-evaluation-harness."""

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, Languages, Name, Problem, Strict


class KnowledgeTask(Strict):
    """A user's own task of the lm-evaluation-harness (lm_eval); its metric gives each question a number from 0 to 1."""

    name: Name
    # The task's YAML. Its folder is copied into the run, so it should hold only what the task needs: included files,
    # functions and data files, which `dataset_kwargs` names relative to it. {language} stands for each language's code
    path: str
    languages: Languages = Field(default_factory=lambda: ["en"])


class KnowledgeConfig(Strict):
    """Questions that the models answer by the likelihood of each option, or by a completion if an own task says so.

    Needs lm_eval, the extra `knowledge` (`make setup` installs it).
    """

    # ready ones (`detox-ray suites`: global-mmlu, arc, hellaswag, toy17-cloze), or own ones
    tasks: list[Name | KnowledgeTask] = Field(min_length=1)
    # a folder of the ready tasks' files (path/global-mmlu/de/test.parquet); null: the workers read them from the hub
    path: str | None = None
    shots: dict[Name, int] = Field({})  # by task: examples before each question; default: the ready task's own
    per_task: int | None = Field(None, ge=1)  # how many questions of each task and language, from the first on
    questions_per_unit: int = Field(1000, ge=1)  # committed at once

    @model_validator(mode="after")
    def _distinct(self) -> "KnowledgeConfig":
        if len(set(self.names)) < len(self.names):
            raise ConfigError([Problem("tasks", self.names, "each name may occur once")])
        return self

    @property
    def names(self) -> list[str]:
        """Return the tasks' names, in order."""
        return [task if isinstance(task, str) else task.name for task in self.tasks]
