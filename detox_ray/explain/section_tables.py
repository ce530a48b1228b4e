"""Access to a run's explain tables, model by model, for the section."""

from typing import Any

import pyarrow as pa

from detox_ray.cluster.stage import Context
from detox_ray.explain import tables
from detox_ray.explain.plan import Explained
from detox_ray.storage import Table, UnitTables


class SectionTables:
    """The explain tables of a run that has finished the stage."""

    def __init__(self, context: Context, explained: Explained):
        self._context = context
        self.config, self.resampling = explained.settings.config, explained.settings.resampling
        self.languages = context.experiment.languages

    def of(self, table: Table, model: str) -> dict[Any, pa.Table]:
        """Return a model's rows by the last of the unit's other keys; all rows under "" if there is no other key."""
        units = {unit: key for unit, key in self._context.units(table).items() if unit["model"] == model}
        rows_by_keys = UnitTables(self._context.store, units)
        place = table.keys.index("model")
        return {
            (keys[:place] + keys[place + 1 :])[-1] if isinstance(keys, tuple) else "": rows
            for keys, rows in rows_by_keys.items()
        }

    def texts(self, model: str, text: str) -> dict[str, pa.Table]:
        """Return {language: SOURCE_ACTIVATIONS} of a model on one of the texts."""
        units = self._context.units(tables.SOURCE_ACTIVATIONS).items()
        of_text = [(unit, key) for unit, key in units if unit["model"] == model and unit["text"] == text]
        rows_by_unit = self._context.store.read_each(of_text, lambda rows: rows)
        return {unit["language"]: rows for unit, rows in rows_by_unit.items()}

    def interventions(self, *models: str) -> pa.Table:
        """Return the rows of INTERVENTIONS of some models."""
        units = self._context.units(tables.INTERVENTIONS).items()
        of_models = [(unit, key) for unit, key in units if unit["model"] in models]
        return self._context.store.read_all(of_models, tables.INTERVENTIONS)
