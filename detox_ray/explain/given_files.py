"""Readers of the files that a user may provide: sources, a probe, a lexicon, shares of the pretraining data.

No code in a file is executed. Li et al. publish their probe as a pickled module. A file of torch.save is a zip archive
whose member ``data/0`` holds the first tensor's raw numbers; only that member is read, and nothing is unpickled.
"""

import csv
import json
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from detox_ray.config import InputError
from detox_ray.models.neurons import Neuron


def read_probe(path: Path) -> NDArray[np.float64]:
    """Return the weights (D,) of a probe: "weight" of a safetensors file, or the only tensor of a .pt file (float32).

    Raises:
        InputError: The file has no such tensor.
    """
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        tensors = load_file(path)
        if "weight" not in tensors:
            raise InputError(f"explain.probe.path: {path} has no tensor named weight (it has: {', '.join(tensors)})")
        return tensors["weight"].astype(np.float64).ravel()
    try:
        with zipfile.ZipFile(path) as archive:
            tensors_of = [name for name in archive.namelist() if name.split("/")[-2:-1] == ["data"]]
            if len(tensors_of) != 1:
                raise InputError(f"explain.probe.path: {path} holds {len(tensors_of)} tensors; a probe is one tensor")
            numbers = np.frombuffer(archive.read(tensors_of[0]), dtype="<f4")
    except zipfile.BadZipFile:
        raise InputError(f"explain.probe.path: {path} is neither a safetensors file nor a file of torch.save") from None
    if len(numbers) == 0 or not np.isfinite(numbers).all():
        raise InputError(f"explain.probe.path: {path} does not hold finite float32 numbers")
    return numbers.astype(np.float64)


def read_neurons(path: Path) -> list[Neuron]:
    """Read neurons from a JSON list of [layer, neuron] pairs.

    Raises:
        InputError: The file is not such a list.
    """
    try:
        pairs = json.loads(path.read_text(encoding="utf-8"))
        return [(int(layer), int(index)) for layer, index in pairs]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"explain.sources: {path} is not a JSON list of [layer, neuron] pairs ({error})") from None


def read_lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    """Read {language: insults} from a JSON file.

    Raises:
        InputError: The file is not a JSON object of lists of words.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(code): tuple(map(str, forms)) for code, forms in content.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"explain.lexicon: {path} is not a JSON object of lists of words ({error})") from None


def shares_of(given: str) -> Mapping[str, float]:
    """Return {language: share of the pretraining data} from a published table, given by name, or from a CSV file.

    Raises:
        InputError: The file lacks the columns language and share, or a share is not a number.
    """
    return published_shares()[given] if given in published_shares() else read_shares(Path(given).expanduser())


@lru_cache(maxsize=1)
def published_shares() -> dict[str, dict[str, float]]:
    """Return {name: {language: share}} for the tables in pretraining_shares.yaml, which cites their sources."""
    content = yaml.safe_load(Path(__file__).with_name("pretraining_shares.yaml").read_text(encoding="utf-8"))
    return {
        name: {language: amount / table["of"] for language, amount in table["languages"].items()}
        for name, table in content.items()
    }


def read_shares(path: Path) -> dict[str, float]:
    """Read {language: share} from a CSV file.

    Raises:
        InputError: The file lacks the columns language and share, or a share is not a number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            shares = {row["language"]: float(row["share"]) for row in csv.DictReader(stream)}
            if not shares:
                raise ValueError("it has no rows")
            return shares
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"explain.shares: {path} is not a CSV with the columns language and share ({error})") from None
