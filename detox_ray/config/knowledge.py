"""The ``knowledge`` block: what a model knows, measured with tasks of the lm-evaluation-harness."""

from pydantic import Field, model_validator

from detox_ray.config.base import ConfigError, Languages, Name, Problem, Strict


class KnowledgeTask(Strict):
    """A user's own task of the lm-evaluation-harness (lm_eval). Its metric must give each question 0 to 1."""

    name: Name
    # The task's YAML. `{language}` in the path stands for each language's code. The YAML's folder is copied into the
    # run, so it should hold only what the task needs: included files, functions, and data files, whose paths in
    # `dataset_kwargs` are relative to it.
    path: str
    languages: Languages = Field(default_factory=lambda: ["en"])


class KnowledgeConfig(Strict):
    """Questions that the models answer by the likelihood of each option, or by a completion if a user's task says so.

    Needs lm_eval, the extra `knowledge` (`make setup` installs it).
    """

    # names of ready tasks (`detox-ray suites`: global-mmlu, arc, hellaswag, toy17-cloze), or definitions of your own
    tasks: list[Name | KnowledgeTask] = Field(min_length=1)
    # a folder of the ready tasks' files (path/global-mmlu/de/test.parquet); null: the workers read them from the hub
    path: str | None = None
    shots: dict[Name, int] = Field({})  # task -> number of examples before each question; default: the task's own
    per_task: int | None = Field(None, ge=1)  # use only the first N questions of each task and language; null: all
    questions_per_unit: int = Field(1000, ge=1)  # questions whose answers are committed together

    @model_validator(mode="after")
    def _distinct(self) -> "KnowledgeConfig":
        if len(set(self.names)) < len(self.names):
            raise ConfigError([Problem("tasks", self.names, "each name may occur only once")])
        return self

    @property
    def names(self) -> list[str]:
        """Return the tasks' names, in order."""
        return [task if isinstance(task, str) else task.name for task in self.tasks]
