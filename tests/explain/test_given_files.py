"""Users' files are read as given, and a published probe without executing code in its file."""

import importlib.util
import pickle
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from detox_ray.config import InputError
from detox_ray.config.explain import ExplainConfig, ParallelConfig
from detox_ray.config.languages import LANGUAGES
from detox_ray.explain.conventions import chosen
from detox_ray.explain.given_files import read_lexicon, read_neurons, read_probe, read_shares, shares_of
from detox_ray.explain.language_distances import distances_of
from detox_ray.explain.parallel import parallel_sentences


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_a_pickled_probe_is_read_without_unpickling(tmp_path: Path) -> None:
    head = torch.nn.Linear(48, 1, bias=False)
    torch.save(head, tmp_path / "probe.pt")  # as it is published: the whole module
    np.testing.assert_array_equal(read_probe(tmp_path / "probe.pt"), head.weight.detach().numpy()[0])
    with zipfile.ZipFile(tmp_path / "probe.pt") as old, zipfile.ZipFile(tmp_path / "bomb.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Bomb()) if name.endswith("data.pkl") else old.read(name))
    np.testing.assert_array_equal(read_probe(tmp_path / "bomb.pt"), head.weight.detach().numpy()[0])


def test_a_probe_in_safetensors_is_its_weight(tmp_path: Path) -> None:
    weight = np.arange(5, dtype=np.float32)
    save_file({"weight": weight[None]}, tmp_path / "probe.safetensors")
    np.testing.assert_array_equal(read_probe(tmp_path / "probe.safetensors"), weight)


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.pt"
    text.write_text("weights")
    save_file({"other": np.ones(3, dtype=np.float32)}, tmp_path / "other.safetensors")
    torch.save(torch.nn.Linear(4, 1), tmp_path / "two.pt")
    for path, reason in (
        (text, "neither a safetensors file nor"),
        (tmp_path / "other.safetensors", "no tensor named weight"),
        (tmp_path / "two.pt", "holds 2 tensors"),
    ):
        with pytest.raises(InputError, match=reason):
            read_probe(path)
    for read in (read_neurons, read_lexicon, read_shares):
        with pytest.raises(InputError, match=r"text\.pt is no"):
            read(text)


def test_tables_of_the_user_are_read(tmp_path: Path) -> None:
    (tmp_path / "neurons.json").write_text("[[1, 2], [3, 4]]")
    (tmp_path / "lexicon.json").write_text('{"en": ["fool"]}')
    (tmp_path / "shares.csv").write_text("language,share\nen,0.5\nfr,0.25\n")
    assert read_neurons(tmp_path / "neurons.json") == [(1, 2), (3, 4)]
    assert read_lexicon(tmp_path / "lexicon.json") == {"en": ("fool",)}
    assert read_shares(tmp_path / "shares.csv") == {"en": 0.5, "fr": 0.25}


def test_published_shares_have_names(tmp_path: Path) -> None:
    aya = shares_of("aya-collection")
    assert aya["en"] == pytest.approx(17838105 / 513758189) and aya["sv"] == 0
    crawl = shares_of("common-crawl-2024-30")
    assert set(LANGUAGES) <= set(crawl) and set(LANGUAGES) <= set(aya)
    assert crawl["en"] == pytest.approx(0.437909) and 0.9 < sum(crawl.values()) < 1
    assert max(aya, key=aya.__getitem__) == max(crawl, key=crawl.__getitem__) == "en"
    (tmp_path / "shares.csv").write_text("language,share\nen,0.5\n")
    assert shares_of(str(tmp_path / "shares.csv")) == {"en": 0.5}


def test_parallel_sentences_are_read_from_a_table_or_a_folder(tmp_path: Path) -> None:
    table = tmp_path / "lines.tsv"
    table.write_text("en\tpt-BR\txx\nIt&#39;s here\tAqui\t?\nNo\tNão\t?\n")
    found = parallel_sentences(ParallelConfig(source="file", path=str(table)), ["en", "fr", "pt"], 0)
    assert found == {"en": ["It's here", "No"], "pt": ["Aqui", "Não"]}
    (tmp_path / "en.txt").write_text("Yes\nNo\n")
    (tmp_path / "fr.txt").write_text("Oui\n")
    with pytest.raises(InputError, match="different numbers of sentences"):
        parallel_sentences(ParallelConfig(source="file", path=str(tmp_path)), ["en", "fr"], 0)


def test_toy17_says_the_same_in_every_language() -> None:
    found = parallel_sentences(ParallelConfig(source="toy17", sentences=6), ["en", "de"], 0)
    assert len(found["en"]) == len(found["de"]) == 6 and found["en"] != found["de"]
    assert found == parallel_sentences(ParallelConfig(source="toy17", sentences=6), ["en", "de"], 0)


def test_a_convention_is_what_the_scripts_do_and_its_name_says_what_changes_it() -> None:
    paper = chosen(ExplainConfig(convention="paper"))
    assert (paper.probe, paper.steps_after_end, paper.choose, paper.overlap) == (
        "reference",
        "count",
        "positive",
        "half",
    )
    assert chosen(ExplainConfig(convention="lee2024")).rank_per_layer == 100
    changed = chosen(ExplainConfig(convention="paper", steps_after_end="skip", choose="positive"))
    assert changed.name == "paper+steps_after_end=skip" and changed.steps_after_end == "skip"


def test_distances_are_columns_of_a_csv_with_gaps(tmp_path: Path) -> None:
    (tmp_path / "distances.csv").write_text("language,genetic,syntactic\nfr,0.5,0.25\nde,,0.125\n")
    found = distances_of(str(tmp_path / "distances.csv"), ["en", "fr", "de"])
    assert found == {"genetic": {"fr": 0.5}, "syntactic": {"fr": 0.25, "de": 0.125}}
    (tmp_path / "none.csv").write_text("language\nfr\n")
    with pytest.raises(InputError, match=r"explain\.distances: .* no column besides language"):
        distances_of(str(tmp_path / "none.csv"), ["fr"])


def test_lang2vec_says_what_to_do_if_it_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"lang2vec is not installed: .* or give a CSV"):
        distances_of("lang2vec", ["en", "fr"])


def test_lang2vec_s_distance_is_a_cosine_over_what_is_known_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"en": [1.0, 0.0, 1.0, "--"], "fr": [1.0, 1.0, "--", 0.5]}

    def get_features(languages: list[str], feature: str) -> dict[str, list[object]]:
        if languages == ["xx"]:
            raise Exception("not found in the URIEL database")
        return {languages[0]: vectors[languages[0]]}

    package = ModuleType("lang2vec")
    package.lang2vec = SimpleNamespace(get_features=get_features)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lang2vec", package)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    found = distances_of("lang2vec", ["en", "fr", "xx"])
    assert found["lang2vec_fam"] == {"fr": pytest.approx(1 / 2**0.5)}
    assert found.keys() == {"lang2vec_fam", "lang2vec_geo", "lang2vec_syntax_average"}
