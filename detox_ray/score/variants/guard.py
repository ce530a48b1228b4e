"""Guard models: language models that judge a text in words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from detox_ray import models
from detox_ray.config import Problem
from detox_ray.config.base import DType
from detox_ray.score.scorer_variant import (
    SPECIAL_TOKENS,
    ReadyScorer,
    ResolvedScorer,
    ScorerVariant,
    ScoringWork,
)
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of

Format = Literal["llama-guard-3", "polyguard", "qwen3guard"]

PROMPT_TOKENS = 300  # approximate length of a guard's own prompt around a text

_LLAMA_GUARD = ("en", "fr", "de", "hi", "it", "pt", "es", "th")
_POLYGUARD = ("ar", "cs", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "th", "zh")


class GuardConfig(ScorerVariant):
    """A guard model with its own prompt format. Toxicity is the probability of its unsafe verdict."""

    # The content of the files, or the hub's commit, is hashed instead.
    no_influence = ScorerVariant.no_influence | {"path", "revision"}
    version = 1  # raise it, too, when prompts or the reading of answers change
    model_based = True
    alone = True  # its engine does not release a GPU's memory

    type: Literal["guard"]
    path: str  # hub id or folder
    revision: str | None = None  # with a hub id only: branch, tag or commit
    format: Format  # the model's prompt format
    dtype: DType = "auto"  # of the weights; auto: as they are saved

    @classmethod
    def ready(cls) -> Sequence[ReadyScorer]:
        def published(
            name: str, path: str, format: Format, languages: tuple[str, ...] | None, licence: str, size: str
        ) -> ReadyScorer:
            config = cls(name=name, type="guard", path=path, format=format)
            return ReadyScorer(config, ("toxicity",), languages, licence, f"{size} parameters; GPU")

        def llama(name: str, path: str, licence: str, size: str) -> ReadyScorer:
            return published(name, f"meta-llama/{path}", "llama-guard-3", _LLAMA_GUARD, licence, size)

        def polyguard(name: str, path: str, licence: str, size: str) -> ReadyScorer:
            return published(name, f"ToxicityPrompts/{path}", "polyguard", _POLYGUARD, licence, size)

        def qwen(name: str, path: str, size: str) -> ReadyScorer:
            return published(name, f"Qwen/{path}", "qwen3guard", None, "apache-2.0", size)

        return [
            llama("llama-guard-3-8b", "Llama-Guard-3-8B", "llama3.1", "8 B"),
            llama("llama-guard-3-1b", "Llama-Guard-3-1B", "llama3.2", "1 B"),
            polyguard("polyguard-qwen", "PolyGuard-Qwen", "cc-by-4.0", "7.6 B"),
            polyguard("polyguard-qwen-smol", "PolyGuard-Qwen-Smol", "cc-by-4.0", "0.5 B"),
            polyguard("polyguard-ministral", "PolyGuard-Ministral", "see model card", "8 B"),
            qwen("qwen3guard-gen-0.6b", "Qwen3Guard-Gen-0.6B", "0.6 B"),
            qwen("qwen3guard-gen-4b", "Qwen3Guard-Gen-4B", "4 B"),
            qwen("qwen3guard-gen-8b", "Qwen3Guard-Gen-8B", "8 B"),
        ]

    def meaning(self, attribute: str) -> str:
        return "the probability that the model calls the text unsafe by its own policy"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        return models.check("path", self.path)

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        model = models.resolve_path(self.name, self.path, self.revision, self.dtype)
        scorer = self.resolved(model.revision or model.key)
        return scorer._replace(model=model, identity=key_of(model=scorer.identity, prompts=self.version))

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        from detox_ray.score.guard_scorer import GuardScorer

        assert scorer.model is not None
        model = scorer.model
        return GuardScorer(self.name, model.local_path(store), model.loading(), self.format, self.dtype)

    def work(self) -> ScoringWork | None:
        return ScoringWork(model=self.path, extra_tokens=SPECIAL_TOKENS + PROMPT_TOKENS)


VARIANT = GuardConfig
