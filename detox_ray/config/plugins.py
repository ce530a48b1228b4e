"""Find variants, such as scorers, by name. Each is one class in one module.

Our own are the modules of a package (`detox_ray.score.variants`). Other packages add theirs by entry points of a group
(`detox_ray.scorers`), as users of inspect_ai and lm-evaluation-harness expect:

    [project.entry-points."detox_ray.scorers"]
    shouting = "my_package.shouting:ShoutingConfig"
"""

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from detox_ray.config.base import ConfigError, InputError, Problem, Strict


class Variant(Strict):
    """A definition in the config, one of whose fields chooses its class. Each class narrows this field to a literal."""

    chosen_by: ClassVar[str]  # the name of this field
    kind: ClassVar[str]  # the value of this field

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if literal := get_args(cls.model_fields[cls.chosen_by].annotation):
            (cls.kind,) = literal


class AnyVariant:
    """The annotation of a field that takes any registered variant. The class that a mapping names validates it."""

    def __init__(self, field: str, registered: Callable[[], Mapping[str, type[Variant]]], says: str):
        """Store how the class is chosen.

        Args:
            field: The name of the field that chooses the class.
            registered: Returns the classes by name; raises InputError if another package's class cannot be used.
            says: What the field states, for the message if it is missing.
        """
        self._field, self._registered, self._says = field, registered, says

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(self._validated, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(variant.__pydantic_core_schema__) for variant in self._registered().values()]}

    def _validated(self, value: Any, as_base: ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, Mapping):
            return as_base(value)  # already a definition; anything else raises pydantic's error
        kind = value.get(self._field)
        if kind is None:
            raise ConfigError([Problem(self._field, None, f"is required, and says {self._says}")])
        try:
            registered = self._registered()
        except InputError as error:
            raise ConfigError([Problem(self._field, kind, str(error))]) from None
        if kind not in list(registered):
            hint = f"a {self._field} that another package adds needs that package installed here"
            raise ConfigError([Problem(self._field, kind, f"must be one of {', '.join(registered)}; {hint}")])
        return registered[kind].model_validate(value)


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
