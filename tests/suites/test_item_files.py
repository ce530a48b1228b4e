"""The names of files of items state their language, or none."""

from pathlib import Path

import pytest

from detox_ray.suites.bias.files import language_of


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("cat_pairs.csv", None),
        ("the_cat_and_the_dog.csv", None),
        ("pairs_por_uso_fr.csv", "fr"),
        ("crows_eng.csv", "en"),
    ],
)
def test_a_short_word_in_a_files_name_is_no_language(name: str, language: str | None) -> None:
    assert language_of(Path("data") / name) == language
