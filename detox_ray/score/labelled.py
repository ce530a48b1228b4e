"""What scorers say of human-labelled texts, for their validity: the scoring job on another table of texts."""

from collections.abc import Mapping

from detox_ray.cluster import Cluster
from detox_ray.config import ScoreConfig
from detox_ray.progress import Progress
from detox_ray.score.job import planned, run_scoring
from detox_ray.score.registry import ResolvedScorer
from detox_ray.store import Store, Unit

TABLE = "labelled_scores"


def plan_labelled(scorer: ResolvedScorer, labelled: Mapping[str, str]) -> dict[Unit, str]:
    """Unit -> key. ``labelled``: language -> key of its unit of labelled texts."""
    return planned(TABLE, scorer, _sources(labelled))


def score_labelled(
    scorer: ResolvedScorer,
    pending: Mapping[Unit, str],
    labelled: Mapping[str, str],
    config: ScoreConfig,
    store: Store,
    cluster: Cluster,
    progress: Progress,
) -> None:
    """Make and commit ``pending``. A derived scorer's members' units must be committed. Raises JobError."""
    label = f"score {scorer.name} on labelled text"
    run_scoring(label, TABLE, scorer, pending, _sources(labelled), config, store, cluster, progress)


def _sources(labelled: Mapping[str, str]) -> dict[Unit, str]:
    return {Unit("labelled", (language,)): key for language, key in labelled.items()}
