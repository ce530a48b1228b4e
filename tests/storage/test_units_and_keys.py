"""Units, their keys, and the tables that define them."""

import pytest

from detox_ray.storage import Unit, define, key_of
from detox_ray.storage.tables import SCORES


def test_keys_follow_the_fields_and_not_their_order() -> None:
    assert key_of(a=1, b="é") == key_of(b="é", a=1)
    keys = [key_of(a=1), key_of(a=2), key_of(a="1"), key_of(a=1.5), key_of(a=None), key_of(b=1), key_of(a=[1])]
    assert len(set(keys)) == len(keys)
    with pytest.raises(ValueError, match="JSON compliant"):
        key_of(a=float("nan"))


def test_units_have_a_value_for_each_key() -> None:
    unit = SCORES.unit(scorer="lexicon", model="base", language="fr", shard=2)
    assert unit.stem("k") == "scores/scorer=lexicon/model=base/language=fr/00002-k"
    assert Unit.of_path(f"{unit.stem('k')}.parquet") == (unit, "k")
    assert Unit.from_json(unit.to_json()) == unit
    assert (unit["model"], unit.get("model"), unit.get("evaluator", "none")) == ("base", "base", "none")
    with pytest.raises(KeyError, match="scores has the keys scorer, model, language, not evaluator"):
        _ = unit["evaluator"]
    with pytest.raises(AssertionError, match="has the keys"):
        SCORES.unit(model="base")


def test_a_table_is_defined_once() -> None:
    assert define("scores", SCORES.keys, SCORES.schema) is SCORES
    with pytest.raises(ValueError, match="two tables are named scores"):
        define("scores", ("model",), SCORES.schema)
