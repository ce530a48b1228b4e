"""The registry of sources: ours, and those that other packages add by an entry point."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from detox_ray.config import ConfigError, DataConfig, PairsConfig, PromptsConfig
from detox_ray.config.data import RowKind, sources_of
from detox_ray.config.loading import validated
from detox_ray.config.plugins import variants
from detox_ray.data import ExperimentData, Source, read_prompts
from detox_ray.storage.tables import PROMPTS

OTHER_PACKAGE = Path(__file__).parent / "other_package"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Put a folder with a package and its metadata on the path, where pip would put it."""

    def add(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        variants.cache_clear()

    yield add
    variants.cache_clear()


@pytest.mark.parametrize("kind", get_args(RowKind))
def test_a_source_has_the_method_of_each_kind_that_it_reads_and_of_no_other(kind: RowKind) -> None:
    sources = {name: source for other in get_args(RowKind) for name, source in sources_of(other).items()}
    overridden = {name for name, source in sources.items() if getattr(source, kind) is not getattr(Source, kind)}
    assert overridden == set(sources_of(kind))


def test_another_packages_source_is_read_like_ours(install: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "en.txt").write_text("Still waters\n\nBirds of a feather", encoding="utf-8")
    (tmp_path / "nl.txt").write_text("Stille wateren", encoding="utf-8")
    install(OTHER_PACKAGE)
    config = PromptsConfig(source="proverbs", path=str(tmp_path), per_language=1)
    rows = read_prompts(config, ["en", "nl"], "skip")
    assert rows["nl"].table.schema == PROMPTS.columns
    assert rows["en"].table.select(["prompt_id", "text", "source"]).to_pylist() == [
        {"prompt_id": "en-00000", "text": "Still waters", "source": "proverbs"}
    ]
    assert rows["en"].skipped == [f"{tmp_path}/en.txt:2: line is empty"]
    inputs = ExperimentData(DataConfig(prompts=config), ["en", "nl", "fr"])
    assert [str(problem) for problem in inputs.check()] == [
        f"data.prompts.path: cannot be read: no such file (got '{tmp_path}/fr.txt')"
    ]


def test_a_source_is_offered_for_what_it_reads_only(install: Callable[[Path], None]) -> None:
    install(OTHER_PACKAGE)
    assert "proverbs" in sources_of("prompts")
    with pytest.raises(ConfigError, match=r"source: must be one of biasdpo, file, .*, the sources of pairs"):
        validated(PairsConfig, {"source": "proverbs", "path": "folder"}, "CONFIG")


def test_a_source_whose_package_is_not_here_says_so() -> None:
    with pytest.raises(ConfigError, match=r"to use a source from another package, install that package .*'proverbs'"):
        validated(PromptsConfig, {"source": "proverbs", "path": "folder"}, "CONFIG")


def test_something_else_than_a_source_is_refused(install: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "no_source.py").write_text("class Nothing:\n    name = 'nothing'\n")
    metadata = tmp_path / "no_source-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: no-source\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[detox_ray.sources]\nnothing = no_source:Nothing\n")
    install(tmp_path)
    with pytest.raises(ConfigError, match=r"'nothing' of detox_ray\.sources must be a subclass of detox_ray\.data\.So"):
        validated(PromptsConfig, {"source": "nothing"}, "CONFIG")
