"""Scores that were computed elsewhere, looked up by text, and also by language if the file has one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from detox_ray.config import Problem
from detox_ray.score import stored_scores
from detox_ray.score.scorer_variant import DEFINITIONS, ResolvedScorer, ScorerVariant
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of


class StoredConfig(ScorerVariant):
    """A scorer that looks up scores that were computed elsewhere."""

    no_influence = ScorerVariant.no_influence | {"path"}  # the content of the files is hashed instead
    version = 1  # raise it, too, when the reading of files changes

    type: Literal["stored"]
    path: str  # a file or folder
    format: stored_scores.Format = "table"  # table: CSV, JSONL or Parquet with text and attribute columns

    def meaning(self, attribute: str) -> str:
        return DEFINITIONS.get(attribute, super().meaning(attribute))

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        return stored_scores.check(self._path, self.format, say)

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        files: dict[str, Path | bytes] = {file.name: file for file in stored_scores.files(self._path, self.format)}
        scores = stored_scores.read(self._path, self.format)
        scorer = self.copied(store, files, scores.languages)
        return scorer._replace(
            file=next(iter(files)) if self._path.is_file() else None,
            identity=key_of(files=scorer.identity, version=self.version),
            notes=scores.notes,
        )

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        assert scorer.folder is not None
        folder = store.localize(scorer.folder)
        return stored_scores.StoredScorer(self.name, folder / scorer.file if scorer.file else folder, self.format)

    @property
    def _path(self) -> Path:
        return Path(self.path).expanduser()


VARIANT = StoredConfig
