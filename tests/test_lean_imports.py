"""What a process imports costs seconds of its start, so what no worker needs stays out."""

import subprocess
import sys

WORKER = """
import sys
from detox_ray import toy17
from detox_ray.models.codec import Codec
from detox_ray.models.transformers_internals import import_without_sklearn
Codec(str(toy17.SHIPPED / "model"), {"revision": None})
print(sorted({"sklearn", "scipy"} & sys.modules.keys()))
import_without_sklearn(trainer=True)
from transformers import LlamaForCausalLM, Trainer, XLMRobertaForSequenceClassification
from transformers.utils import is_sklearn_available
LlamaForCausalLM, Trainer, XLMRobertaForSequenceClassification
print(sorted({"sklearn", "scipy"} & sys.modules.keys()), is_sklearn_available())
"""
DRIVER = """
import sys
import detox_ray.cli
from detox_ray.run.stages import registered
registered()
print(sorted({"ray", "torch", "transformers", "vllm", "trl", "sklearn", "scipy"} & sys.modules.keys()))
"""


def printed(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_tokenizers_model_classes_and_the_trainer_come_without_sklearn_and_scipy() -> None:
    assert printed(WORKER) == "[]\n[] True"


def test_driver_starts_without_ray_and_torch() -> None:
    assert printed(DRIVER) == "[]"
