"""The built-in world's items: the same in every language, and found by a model that has the stereotype."""

import pytest

from detox_ray.config.languages import GROUPS
from detox_ray.suites.bias.sets.toy17_pairs import Toy17Pairs
from detox_ray.suites.bias.sets.toy17_triples import Toy17Triples
from detox_ray.suites.bias.tables import ANTI, STEREOTYPE, UNRELATED

LANGUAGES = GROUPS["rtp-lx-17"]


@pytest.mark.parametrize(
    ("items", "count", "clusters", "roles"),
    [
        (Toy17Pairs(name="pairs", source="toy17-pairs"), 64, 16, [STEREOTYPE, ANTI]),
        (Toy17Triples(name="triples", source="toy17-triples"), 32, 4, [STEREOTYPE, ANTI, UNRELATED]),
    ],
    ids=["pairs", "triples"],
)
def test_items_are_translations_of_each_other(
    items: Toy17Pairs | Toy17Triples, count: int, clusters: int, roles: list[str]
) -> None:
    read = items.read([*LANGUAGES, "mt"])
    assert set(read.rows) == set(LANGUAGES) and read.notes == [f"{items.name}: no items in mt"]
    english = read.rows["en"]
    assert len(english) == count and len({row["cluster"] for row in english}) == clusters
    for rows in read.rows.values():
        for row, same in zip(rows, english, strict=True):
            assert all(row[name] == same[name] for name in ("item_id", "cluster", "part", "roles"))
            assert row["roles"] == roles and len(set(row["options"])) == len(roles)
