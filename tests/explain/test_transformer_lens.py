"""Neurons are those that TransformerLens 4 reads. It is no dependency: without it this module is skipped.

To run it: pip install --target FOLDER transformer-lens, and FOLDER on PYTHONPATH.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from readable_models import FAMILIES, causal_model
from transformers import AutoTokenizer

from detox_ray.explain.reading import Row, read
from detox_ray.models.mlp import Mlps

bridges = pytest.importorskip("transformer_lens.model_bridge", reason="TransformerLens is not installed")

PROMPT, CONTINUATION = [5, 6, 7], [8, 9, 10, 11]
LARGEST = 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_a_reading_is_what_its_hooks_see(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = causal_model(family, tmp_path)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    mlps = Mlps(model.network)
    reading = read(mlps, [Row(PROMPT, CONTINUATION)], [[] for _ in range(len(mlps))], pad=0, budget=1000)
    # Last, for a bridge puts modules of its own into the model.
    bridge = bridges.TransformerBridge.boot_transformers(
        str(tmp_path), hf_model=model.network, tokenizer=AutoTokenizer.from_pretrained(tmp_path), device="cpu"
    )
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.tensor([[*PROMPT, *CONTINUATION[:-1]]]), prepend_bos=False)
    for layer in range(len(mlps)):
        seen = cache[f"blocks.{layer}.mlp.hook_post"][0, len(PROMPT) - 1 :].double().sum(0)
        np.testing.assert_allclose(reading.layers[layer].sums, seen, atol=LARGEST)
