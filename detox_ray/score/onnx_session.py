"""Sessions of ONNX Runtime on CPUs, and the texts on which a network is tried when it is loaded."""

import os
import random
from pathlib import Path
from typing import Any

import torch

DOCUMENTS = 8  # documents of each built-in language in the sample


def open_session(path: Path) -> Any:
    """Open a session with as many threads as torch uses. Ray sets OMP_NUM_THREADS to an actor's share of the CPUs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other processes use the same CPUs
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def sample_texts() -> list[str]:
    """Return harmless and hostile sentences in each built-in language, with real words, and always the same ones."""
    from detox_ray.toy17.grammar import document
    from detox_ray.toy17.vocabulary import vocabularies
    from detox_ray.toy17.world_size import WorldSize

    rng = random.Random("onnx")
    mixture = WorldSize().mixture
    return [
        document(rng, mixture, language, language, number % 2 == 0).text
        for language in vocabularies()
        for number in range(DOCUMENTS)
    ]
