"""Find variants, such as scorers, by name. Each is one class in one module.

Our own are the modules of a package (`detox_ray.score.variants`). Other packages add theirs by entry points of a group
(`detox_ray.scorers`), as users of inspect_ai and lm-evaluation-harness expect:

    [project.entry-points."detox_ray.scorers"]
    shouting = "my_package.shouting:ShoutingConfig"
"""

import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from detox_ray.config.base import InputError


@cache
def variants(group: str, package: str, named_by: str = "name") -> Mapping[str, Any]:
    """Return all variants by name: the attribute ``VARIANT`` of each module of ``package``, then the entry points.

    Args:
        group: Group of entry points by which other packages add variants.
        package: Package of ours with one variant per module.
        named_by: Attribute of a variant that holds its name.

    Raises:
        InputError: An entry point cannot be loaded, is not named as its variant, or has the name of another variant.
    """
    by_name: dict[str, Any] = {}
    for module in pkgutil.iter_modules(import_module(package).__path__):
        variant = getattr(import_module(f"{package}.{module.name}"), "VARIANT", None)
        if variant is not None:
            name = getattr(variant, named_by)
            assert name not in by_name, f"two variants of {package} are named {name}"
            by_name[name] = variant
    for point in entry_points(group=group):
        origin = f"entry point {point.name!r} of {group} ({point.value})"
        try:
            variant = point.load()
        except Exception as error:  # whatever importing somebody else's package raises
            raise InputError(f"{origin} cannot be loaded: {type(error).__name__}: {error}") from error
        if getattr(variant, named_by, None) != point.name:
            raise InputError(f"{origin} must have the attribute {named_by} = {point.name!r}")
        if point.name in by_name:
            raise InputError(f"{origin} has a name that is taken: choose another name")
        by_name[point.name] = variant
    return by_name
