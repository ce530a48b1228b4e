"""Any text-classification model of transformers, and the published ones that are ready."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from detox_ray import models
from detox_ray.config import Problem
from detox_ray.config.base import DType
from detox_ray.score.label_mapping import OutputConfig, attribute_problems, config_problems
from detox_ray.score.scorer_variant import ReadyScorer, ResolvedScorer, ScorerVariant, ScoringWork
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store

MODEL_FILES = (".safetensors", ".json", ".model", ".txt")  # endings of weights, config and tokenizer

_TEXTDETOX_2024 = ("en", "ru", "uk", "de", "es", "ar", "am", "hi", "zh")
_TEXTDETOX_2025 = (*_TEXTDETOX_2024, "it", "fr", "he", "ja", "tt")  # and Hinglish
_TEXTDETOX_LICENCE = "openrail++"  # of the first classifiers and of their data set
_TEXTDETOX_DATA = "textdetox/multilingual_toxicity_dataset: texts labelled toxic or not, per language"
_JIGSAW = ("en", "fr", "es", "it", "pt", "tr", "ru")


class ClassifierConfig(ScorerVariant):
    """Any Hugging Face text-classification model."""

    # The content of the files, or the hub's commit, is hashed instead.
    no_influence = ScorerVariant.no_influence | {"path", "revision"}
    version = 2  # version 1 padded decoders with the wrong token, and omitted token types
    model_based = True

    type: Literal["classifier"]
    path: str  # hub id or folder
    revision: str | None = None  # with a hub id only: branch, tag or commit
    attributes: dict[str, OutputConfig] | None = None  # attribute -> labels of the model; null: decide by their names
    runtime: Literal["torch", "onnx-int8"] = "torch"  # onnx-int8: CPU only, with its agreement measured
    dtype: DType = "auto"  # of the weights; auto: bfloat16 on a GPU, else float32

    @classmethod
    def ready(cls) -> Sequence[ReadyScorer]:
        def published(
            name: str,
            path: str,
            languages: tuple[str, ...],
            licence: str,
            size: str,
            revision: str | None = None,
            trained_on: str = _TEXTDETOX_DATA,
        ) -> ReadyScorer:
            config = cls(name=name, type="classifier", path=path, revision=revision)
            return ReadyScorer(config, ("toxicity",), languages, licence, f"{size} parameters; CPU or GPU", trained_on)

        def textdetox(name: str, model: str, languages: tuple[str, ...], licence: str, size: str) -> ReadyScorer:
            return published(f"textdetox-{name}", f"textdetox/{model}", languages, licence, size)

        return [
            textdetox("xlmr", "xlmr-large-toxicity-classifier-v2", _TEXTDETOX_2025, _TEXTDETOX_LICENCE, "560 M"),
            textdetox("xlmr-v1", "xlmr-large-toxicity-classifier", _TEXTDETOX_2024, _TEXTDETOX_LICENCE, "560 M"),
            textdetox("xlmr-base", "xlmr-base-toxicity-classifier", _TEXTDETOX_2024, _TEXTDETOX_LICENCE, "278 M"),
            textdetox("glot500", "glot500-toxicity-classifier", _TEXTDETOX_2025, "see model card", "394 M"),
            textdetox("twitter-xlmr", "twitter-xlmr-toxicity-classifier", _TEXTDETOX_2025, "see model card", "560 M"),
            published(
                "unitary-multilingual",
                "unitary/multilingual-toxic-xlm-roberta",
                _JIGSAW,
                "apache-2.0",
                "278 M",
                # main has only pickled weights. This open pull request of the hub's converter has them as safetensors.
                revision="refs/pr/2",
                trained_on="Jigsaw's multilingual toxic comments (Kaggle, 2020)",
            ),
        ]

    def meaning(self, attribute: str) -> str:
        return f"the probability of the label {attribute}, as the model's maker defines it"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        if problems := models.check("path", self.path):
            return problems
        config = models.local_config(self.path, self.revision)  # None: not on this machine yet
        return [] if config is None else config_problems(config, self.path, self.attributes)

    def check_settings(self) -> list[Problem]:
        problems = attribute_problems(self.attributes)
        if self.runtime == "onnx-int8":
            if self.dtype not in ("auto", "float32"):
                problems.append(Problem("dtype", self.dtype, "must be auto: runtime onnx-int8 has its own dtype"))
            if _has_gpu():
                rule = "is for CPUs, and this machine has a GPU: use torch"
                problems.append(Problem("runtime", self.runtime, rule))
        return problems

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        model = models.resolve_path(self.name, self.path, self.revision, self.dtype)
        if model.revision is not None:  # of the hub
            return self.resolved(model.revision)._replace(model=model)
        files: dict[str, Path | bytes] = {
            file.name: file for file in Path(model.local_path(store)).iterdir() if file.suffix in MODEL_FILES
        }
        scorer = self.copied(store, files)
        assert scorer.folder is not None
        return scorer._replace(model=model._replace(location=scorer.folder, in_store=True))

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        from detox_ray.score.classifier_scorer import ClassifierScorer

        model = scorer.model
        assert model is not None
        return ClassifierScorer(
            self.name,
            model.local_path(store),
            model.loading(),
            attributes=self.attributes,
            dtype=self.dtype,
            int8_key=model.key if self.runtime == "onnx-int8" else None,
            batch_tokens=batch_tokens,
        )

    def work(self) -> ScoringWork | None:
        return ScoringWork(model=self.path)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


VARIANT = ClassifierConfig
