"""A text classifier that its publisher exported to ONNX, often with int8 weights for CPUs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from detox_ray import models
from detox_ray.config import InputError, Problem
from detox_ray.score.label_mapping import OutputConfig, attribute_problems, config_problems
from detox_ray.score.scorer_variant import ResolvedScorer, ScorerVariant, ScoringWork
from detox_ray.score.scorers import Scorer
from detox_ray.storage import Store

BESIDE = ("*.json", "*.model", "*.txt")  # config and tokenizer


class OnnxConfig(ScorerVariant):
    """A classifier's ONNX file. It runs unchanged, on CPUs."""

    # The contents of the files are hashed instead of where they come from.
    no_influence = ScorerVariant.no_influence | {"path", "file", "revision"}
    on_cpu = True

    type: Literal["onnx"]
    path: str  # hub id or folder, with config.json and a tokenizer
    file: str | None = None  # the ONNX file in it, such as onnx/model_quantized.onnx; null: the only one there is
    revision: str | None = None  # of a hub id: branch, tag or commit
    attributes: dict[str, OutputConfig] | None = None  # which labels they are made from; null: go by the labels' names
    output: Literal["logits", "probabilities"] = "logits"  # probabilities: the network ends in a softmax or sigmoid

    def meaning(self, attribute: str) -> str:
        return f"the probability of the label {attribute}, as the model's maker defines it"

    def check_files(self, say: Callable[[str], None]) -> list[Problem]:
        if not models.is_folder(self.path):
            if self.file is None:
                return [Problem("file", None, "must name the ONNX file of the repository, such as onnx/model.onnx")]
        else:
            folder = Path(self.path).expanduser()
            if not (folder / "config.json").is_file():
                return [Problem("path", self.path, "must be a hub id (org/name) or a folder with a config.json")]
            if not any((folder / name).is_file() for name in models.TOKENIZER):
                return [Problem("path", self.path, "has no tokenizer beside config.json")]
            try:
                _file(folder, self.file)
            except InputError as error:
                return [Problem("file", self.file, str(error))]
        config = models.local_config(self.path, self.revision)  # None: not on this machine yet
        return [] if config is None else config_problems(config, self.path, self.attributes)

    def check_settings(self) -> list[Problem]:
        return attribute_problems(self.attributes)

    def resolve(self, store: Store, world: str | None, earlier: Mapping[str, ResolvedScorer]) -> ResolvedScorer:
        if models.is_folder(self.path):
            folder = Path(self.path).expanduser()
        else:
            assert self.file is not None, "check_files asks for it"
            folder = models.hub_files(self.path, self.revision, (*BESIDE, f"{self.file}*"))
        file = _file(folder, self.file)
        beside = [found for pattern in BESIDE for found in folder.glob(pattern)]
        files = {found.name: found for found in [*beside, file, *_weights(file)]}
        return self.copied(store, files)._replace(file=file.name)

    def load(self, scorer: ResolvedScorer, store: Store, batch_tokens: int) -> Scorer:
        from detox_ray.score.onnx_scorer import OnnxScorer

        assert scorer.folder is not None and scorer.file is not None
        return OnnxScorer(
            self.name,
            store.localize(scorer.folder),
            scorer.file,
            attributes=self.attributes,
            output=self.output,
            batch_tokens=batch_tokens,
        )

    def work(self) -> ScoringWork | None:
        return ScoringWork(model=self.path)


def _file(folder: Path, name: str | None) -> Path:
    """Return the ONNX file in a model's folder.

    Raises:
        InputError: If there is no file of this name or, without a name, if there is not exactly one.
    """
    found = sorted(folder.rglob("*.onnx"))
    names = ", ".join(str(each.relative_to(folder)) for each in found)
    if name is not None:
        if (folder / name) not in found:
            raise InputError(f"must be one of {names}" if found else f"{folder} has no *.onnx")
        return folder / name
    if len(found) != 1:
        raise InputError(f"must choose one of {names}" if found else f"{folder} has no *.onnx")
    return found[0]


def _weights(file: Path) -> list[Path]:
    """Return the separate files that hold an ONNX file's weights.

    Raises:
        InputError: If the file is not ONNX, or one of its files is missing or not beside it.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    try:
        graph = onnx.load(str(file), load_external_data=False).graph
    except DecodeError:
        raise InputError(f"{file} is not an ONNX file") from None
    names = {ExternalDataInfo(each).location for each in graph.initializer if uses_external_data(each)}
    for name in sorted(names):
        if Path(name).name != name or not (file.parent / name).is_file():
            raise InputError(f"{file}: its weights are in {name}, which must lie beside it")
    return [file.parent / name for name in sorted(names)]


VARIANT = OnnxConfig
