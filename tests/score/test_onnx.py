"""Classifiers that are published as ONNX: as exported and quantised elsewhere, and files that are something else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_classifier import write_classifier
from typer.testing import CliRunner

from detox_ray.cli import app
from detox_ray.config import InputError
from detox_ray.score.onnx_scorer import OnnxScorer
from detox_ray.score.variants.onnx import OnnxConfig
from detox_ray.storage import Store

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:.*:UserWarning"),  # of the exporter
]
LABELS = ["neutral", "toxic"]
TEXTS = ["Leo is a liar.", "kind", "先生は親切", "leo is kind. " * 40, "", *["the teacher is a liar"] * 30]


class Network(torch.nn.Module):
    """A classifier as people export it: from ids and mask to one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def export(folder: Path, file: Path) -> None:
    """Export the folder's model by torch, with its weights in a file beside it."""
    import onnx
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = {"input_ids": torch.tensor([[0, 5, 6, 2]] * 2), "attention_mask": torch.ones(2, 4, dtype=torch.long)}
    file.parent.mkdir()
    torch.onnx.export(
        Network(model).eval(),
        tuple(inputs.values()),
        f=str(file),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "tokens"} for name in inputs},
        dynamo=False,  # optimum's way, and the faster one
    )
    whole = onnx.load(str(file))
    onnx.save(whole, str(file), save_as_external_data=True, location=f"{file.name}_data")


def changed(published: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """Return a copy of the published model without its weights in torch's form, whose graph is changed."""
    import onnx

    shutil.copytree(published, folder, ignore=shutil.ignore_patterns("onnx", "*.safetensors"))
    model = onnx.load(str(published / "onnx/model.onnx"))
    change(model.graph)
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def end_in_softmax(graph: Any) -> None:
    from onnx import helper

    graph.node.append(helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1))
    graph.output[0].name = "probabilities"


def fix_shape(graph: Any) -> None:
    for each in graph.input:
        each.type.tensor_type.shape.dim[1].dim_value = 4


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as those for Transformers.js: config and tokenizer, with the ONNX files in a folder of their own."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = write_classifier(tmp_path_factory.mktemp("published") / "model", LABELS, None)
    export(folder, folder / "onnx/model.onnx")
    quantize_dynamic(folder / "onnx/model.onnx", folder / "onnx/model_quantized.onnx", weight_type=QuantType.QInt8)
    return folder


def definition(path: Path, **settings: Any) -> OnnxConfig:
    return OnnxConfig.model_validate({"name": "tiny", "type": "onnx", "path": str(path), **settings})


def scorer(path: Path, store: Path, **settings: Any) -> OnnxScorer:
    config = definition(path, **settings)
    assert config.check_files(print) == [] and config.check_settings() == []
    at = Store.at(str(store))
    loaded = config.load(config.resolve(at, None, {}), at, 512)
    assert isinstance(loaded, OnnxScorer)
    return loaded


def toxicity(results: Any) -> list[float]:
    return [result["toxicity"] for result in results]


def test_a_published_file_scores_as_the_weights_that_it_was_made_of(published: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(published).eval()
    tokenizer = AutoTokenizer.from_pretrained(published)
    expected = []
    for text in TEXTS:
        encoded = tokenizer([text], truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            expected.append(float(model(**encoded).logits.softmax(-1)[0, 1]))
    whole = scorer(published, tmp_path / "run", file="onnx/model.onnx")
    assert toxicity(whole.score(TEXTS, "en")) == pytest.approx(expected, abs=1e-5)
    assert whole.notes["truncated_texts"] == 1
    quantised = scorer(published, tmp_path / "run", file="onnx/model_quantized.onnx")
    values = toxicity(quantised.score(TEXTS, "en"))
    assert values == pytest.approx(expected, abs=0.1) and values != pytest.approx(expected, abs=1e-5)


def test_each_file_is_another_scorer_and_another_place_is_not(published: Path, tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "run"))

    def identity(path: Path, file: str) -> str:
        return definition(path, file=file).resolve(store, None, {}).identity

    whole, quantised = identity(published, "onnx/model.onnx"), identity(published, "onnx/model_quantized.onnx")
    assert whole != quantised
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx", "onnx/model.onnx_data"):
        (moved / Path(name).name).write_bytes((published / name).read_bytes())
    assert identity(moved, "model.onnx") == whole
    data = (moved / "model.onnx_data").read_bytes()
    (moved / "model.onnx_data").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert identity(moved, "model.onnx") != whole
    (moved / "model.onnx_data").unlink()
    with pytest.raises(InputError, match=r"its weights are in model.onnx_data, which must lie beside it"):
        identity(moved, "model.onnx")


def test_the_file_must_be_named_if_there_are_several(published: Path) -> None:
    (problem,) = definition(published).check_files(print)
    assert problem.field == "file" and "onnx/model.onnx, onnx/model_quantized.onnx" in problem.rule
    (problem,) = definition(published, file="model.onnx").check_files(print)
    assert problem.value == "model.onnx" and "must be one of onnx/model.onnx" in problem.rule
    (problem,) = definition(Path("org/name")).check_files(print)
    assert problem.field == "file" and "must name the ONNX file" in problem.rule


def test_a_network_that_ends_in_a_softmax_is_not_squashed_twice(published: Path, tmp_path: Path) -> None:
    folder = changed(published, tmp_path / "model", end_in_softmax)
    with pytest.raises(InputError, match="unlikely for logits: set output: probabilities"):
        scorer(folder, tmp_path / "run")
    values = toxicity(scorer(folder, tmp_path / "run", output="probabilities").score(TEXTS, "en"))
    with pytest.raises(InputError, match="these are not probabilities"):
        scorer(published, tmp_path / "run", file="onnx/model.onnx", output="probabilities")
    whole = scorer(published, tmp_path / "run", file="onnx/model.onnx")
    assert toxicity(whole.score(TEXTS, "en")) == pytest.approx(values, abs=1e-6)


def test_what_is_no_classifier_of_texts_is_refused_by_name(published: Path, tmp_path: Path) -> None:
    folder = changed(published, tmp_path / "fixed", fix_shape)
    with pytest.raises(InputError, match=r"input_ids has the fixed shape batchx4: export it with dynamic axes"):
        scorer(folder, tmp_path / "run")
    folder = changed(published, tmp_path / "labels", lambda graph: None)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "neutral", "1": "toxic", "2": "insult"}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"config.json has 3 labels \(neutral, toxic, insult\)"):
        scorer(folder, tmp_path / "run")
    (folder / "model.onnx").write_bytes(b"<html>404</html>")
    with pytest.raises(InputError, match="is not an ONNX file"):
        scorer(folder, tmp_path / "run")


def test_a_file_of_texts_is_scored_with_it(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETOX_RAY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    folder = changed(published, tmp_path / "model", lambda graph: None)
    file, out = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    file.write_text(
        "".join(json.dumps({"text": text, "language": "en"}) + "\n" for text in TEXTS[:2]), encoding="utf-8"
    )
    result = CliRunner().invoke(app, ["score-file", str(file), "--scorer", f"small={folder}", "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    expected = toxicity(scorer(published, tmp_path / "run", file="onnx/model.onnx").score(TEXTS[:2], "en"))
    assert [row["small.toxicity"] for row in rows] == pytest.approx(expected, abs=1e-6)
    assert {row["small.status"] for row in rows} == {"ok"}
