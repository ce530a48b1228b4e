"""Detoxify: a checkpoint in its format, or one of its published models."""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

from detox_ray.config import TOY17, Problem
from detox_ray.models.transformers_internals import import_without_sklearn
from detox_ray.score.scorer_variant import DEFINITIONS, ReadyScorer, ResolvedScorer, ScorerVariant, ScoringWork, digest
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store, key_of

CHECKPOINT = "checkpoint.ckpt"

_ORIGINAL = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
_UNBIASED = ("toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat", "sexual_explicit")
_MULTILINGUAL = ("en", "fr", "es", "it", "pt", "tr", "ru")


class DetoxifyConfig(ScorerVariant):
    """A checkpoint in Detoxify's format."""

    # The content of the files is hashed instead.
    no_influence = ScorerVariant.no_influence | {"path", "huggingface_config"}
    model_based = True

    type: Literal["detoxify"]
    path: str  # the checkpoint file; in ready scorers, the published model's name, or toy17
    huggingface_config: str | None = None  # folder of config.json and tokenizer; null: the checkpoint names a hub id

    @classmethod
    def ready(cls) -> Sequence[ReadyScorer]:
        def published(
            model: str, attributes: tuple[str, ...], languages: tuple[str, ...], parameters: str, trained_on: str
        ) -> ReadyScorer:
            config = cls(name=f"detoxify-{model}", type="detoxify", path=model)
            cost = f"{parameters}; CPU or GPU"
            return ReadyScorer(config, attributes, languages, "apache-2.0", cost, f"Jigsaw's {trained_on}")

        toy17 = cls(name="toy17-detoxify", type="detoxify", path=TOY17)
        return [
            published("original", _ORIGINAL, ("en",), "110 M parameters (BERT base)", "toxic comments (Kaggle, 2018)"),
            published(
                "unbiased", _UNBIASED, ("en",), "125 M parameters (RoBERTa base)", "unintended bias (Kaggle, 2019)"
            ),
            published(
                "multilingual", _UNBIASED, _MULTILINGUAL, "278 M parameters (XLM-R base)", "multilingual (Kaggle, 2020)"
            ),
            ReadyScorer(
                toy17, ("toxicity", "insult"), None, "this project's", "tiny; CPU", "sentences of the built-in world"
            ),
        ]

    def meaning(self, attribute: str) -> str:
        return DEFINITIONS.get(attribute.replace("sexual_", "sexually_"), super().meaning(attribute))

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        if not Path(self.path).expanduser().is_file():
            return [Problem("path", self.path, "must be an existing file")]
        folder = self.huggingface_config
        if folder and not (Path(folder).expanduser() / "config.json").is_file():
            return [Problem("huggingface_config", folder, "must be a folder with config.json and the tokenizer")]
        return []

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        if self.is_ready and self.path == TOY17:
            return self._of_world(store, world)
        if self.is_ready:
            return self.resolved(f"{self.path}, detoxify {metadata.version('detoxify')}")
        checkpoint = Path(self.path).expanduser().resolve()
        files: dict[str, Path | bytes] = {CHECKPOINT: checkpoint}
        if self.huggingface_config is not None:
            folder = Path(self.huggingface_config).expanduser().resolve()
            files |= {file.name: file for file in folder.iterdir() if file.is_file() and file != checkpoint}
        return self.copied(store, files)._replace(file=CHECKPOINT)

    def _of_world(self, store: Store, world: str | None) -> ResolvedScorer:
        assert world is not None, f"{self.name} needs the world"
        folder = f"{world}/classifier"
        files = store.files(folder)
        (checkpoint,) = (name for name in files if name.endswith(".ckpt"))
        revision = key_of(files={name: digest(store.read_bytes(name)) for name in files})
        return self.resolved(revision)._replace(folder=folder, file=checkpoint.removeprefix(f"{folder}/"))

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        import_without_sklearn()
        from detox_ray.score.detoxify_scorer import DetoxifyScorer

        if scorer.folder is None:
            return DetoxifyScorer.from_hub(self.name, self.path, batch_tokens)
        assert scorer.file is not None
        folder = store.localize(scorer.folder)
        config_folder = folder if (folder / "config.json").is_file() else None
        return DetoxifyScorer(self.name, folder / scorer.file, config_folder, batch_tokens)

    def work(self) -> ScoringWork | None:
        return None if self.path == TOY17 else ScoringWork(model=self.path)


VARIANT = DetoxifyConfig
