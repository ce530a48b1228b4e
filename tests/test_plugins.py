"""Variants are found by name: those of a package of ours, and those that other packages bring."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from detox_ray.config import InputError, plugins
from detox_ray.config.plugins import variants

GROUP = "detox_ray.examples"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with one variant, beside one module without and one that another package would bring."""
    folder = tmp_path / "example_variants"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "whisper.py").write_text("class Whisper:\n    name = 'whisper'\nVARIANT = Whisper\n")
    (folder / "shared.py").write_text("def helper(): ...\n")
    (tmp_path / "another_package.py").write_text("class Shout:\n    name = 'shout'\nclass Nameless: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    variants.cache_clear()
    return folder.name


def entry(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    points = [EntryPoint(name, value, GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == GROUP else [])


def test_own_and_others_variants_are_found_by_name(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, "shout", "another_package:Shout")
    assert list(variants(GROUP, package)) == ["whisper", "shout"]
    variants.cache_clear()
    assert list(variants("detox_ray.others", package)) == ["whisper"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("shout", "no_such_package:Shout", "cannot be loaded: ModuleNotFoundError"),
        ("shout", "another_package:Absent", "cannot be loaded: AttributeError"),
        ("shout", "another_package:Nameless", "must have the attribute name = 'shout'"),
        ("louder", "another_package:Shout", "must have the attribute name = 'louder'"),
        ("whisper", "example_variants.whisper:Whisper", "has a name that is taken"),
    ],
)
def test_entry_points_that_are_wrong_are_named(
    package: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    entry(monkeypatch, name, value)
    with pytest.raises(InputError, match=said):
        variants(GROUP, package)
