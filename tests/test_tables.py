"""The tables and the languages: the rules that other rooms and outside readers rely on."""

import pytest

from detox_ray.config.languages import GROUPS, LANGUAGES
from detox_ray.storage import TABLES
from detox_ray.storage.tables import LIKELIHOODS, METRICS, OK, SCORES, STATUSES


@pytest.mark.parametrize("table", TABLES)
def test_partition_keys_are_folders_and_not_columns(table: str) -> None:
    names = TABLES[table].columns.names if TABLES[table].schema is not None else []
    assert set(TABLES[table].keys).isdisjoint(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "schema", [SCORES.columns, LIKELIHOODS.columns, METRICS.columns], ids=["scores", "likelihoods", "metrics"]
)
def test_a_measured_value_may_be_missing_and_its_status_may_not(schema: object) -> None:
    names = {"value", "nll"} & set(schema.names)  # type: ignore[attr-defined]
    assert all(schema.field(name).nullable for name in names)  # type: ignore[attr-defined]
    assert names
    assert not schema.field("status").nullable  # type: ignore[attr-defined]


def test_statuses_are_distinct_and_only_one_is_ok() -> None:
    assert len(set(STATUSES)) == len(STATUSES) == 4
    assert STATUSES[0] == OK


def test_rows_are_found_by_the_ids_of_the_tables_they_come_from() -> None:
    for table, column in (("generations", "prompt_id"), ("scores", "prompt_id"), ("likelihoods", "text_id")):
        source = "prompts" if column == "prompt_id" else "texts"
        assert TABLES[table].columns.field(column) == TABLES[source].columns.field(column)


def test_the_languages_are_those_of_the_papers() -> None:
    assert " ".join(GROUPS["rtp-lx-17"]) == "ar cs de en es fr hi id it ja ko nl pl pt ru sv zh"
    assert all(code == language.code for code, language in LANGUAGES.items())
    assert GROUPS["neplenbroek-20"] == tuple(LANGUAGES)
    assert set(LANGUAGES) - set(GROUPS["rtp-lx-17"]) == {"ca", "mt", "tr"}


def test_locales_are_distinct_and_arabic_alone_runs_right_to_left() -> None:
    assert len({LANGUAGES[code].rtp_lx_locale for code in GROUPS["rtp-lx-17"]}) == 17
    assert LANGUAGES["zh"].rtp_lx_locale == "ZH-Hans"
    assert [code for code, language in LANGUAGES.items() if language.direction == "rtl"] == ["ar"]
    assert {language.direction for language in LANGUAGES.values()} == {"ltr", "rtl"}
