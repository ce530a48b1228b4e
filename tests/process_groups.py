"""Which test files one process of pytest-xdist takes together, because they share what takes long to start.

The longest group is first; the many short files fill the gaps at the end.
"""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
RAY, RUN, TRAINING, SERVICE = "1 ray", "2 run", "3 training", "4 service"
FIXTURES = {"ray_cluster": RAY, "resumed": RUN, "service": SERVICE}  # fixture, as a parameter -> the group of its users


def group_of(nodeid: str) -> str:
    """Return the group of a test; by itself, its file's, integration tests before unit tests."""
    return _group_of_file(nodeid.partition("::")[0])


@cache
def _group_of_file(file: str) -> str:
    source = (ROOT / file).read_text(encoding="utf-8")
    integration = "mark.integration" in source
    groups = [group for fixture, group in FIXTURES.items() if re.search(rf"\b{fixture}: ", source)]
    if integration and file.startswith("tests/train/"):
        groups.append(TRAINING)
    return min(groups, default=f"{5 if integration else 6} {file}")
