"""The ready tasks in the listing of `detox-ray suites`, with the number of questions that an experiment has."""

from detox_ray.config import Experiment, KnowledgeTask
from detox_ray.suites.catalogue import PresentItems, PublishedSet
from detox_ray.suites.knowledge import plan
from detox_ray.suites.knowledge.catalogue import READY, TOY17_CLOZE

SUITE = "knowledge"
SETS = tuple(
    PublishedSet(
        task.title, SUITE, task.name, task.languages, f"{task.questions:,} questions", task.licence, task.source
    )
    for task in READY.values()
)


def present(experiment: Experiment) -> list[PresentItems]:
    """Return the number of questions of each ready task on this machine. Raise InputError for invalid files."""
    config, items = experiment.knowledge, list[PresentItems]()
    for task in plan.tasks_of(config) if config is not None else ():
        if config is None or isinstance(task, KnowledgeTask) or (config.path is None and task.name != TOY17_CLOZE):
            continue
        for language in plan.languages_of(task, config, experiment.languages):
            rows = plan.read_questions(task, config, language, experiment.seed)
            count = sum(row["split"] == task.asked for row in rows)
            items.append(PresentItems(SUITE, task.name, language, count))
    return items
