"""Names of the tests' modules: pytest imports them by their bare names, so that two of one name would be one."""

from collections import Counter
from pathlib import Path


def test_no_two_modules_share_a_name() -> None:
    names = Counter(path.name for path in Path(__file__).parent.rglob("*.py"))
    shared = {name for name, count in names.items() if count > 1}
    assert shared <= {"__init__.py", "conftest.py"}
