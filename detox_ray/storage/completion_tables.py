"""The tables of completions and of their measurements, for each kind of prompts."""

from typing import NamedTuple

from detox_ray.storage.tables import DIVERSITIES, FLUENCIES, GENERATIONS, IDENTIFICATIONS, PROMPTS
from detox_ray.storage.units import Table, define


class CompletionTables(NamedTuple):
    """The tables of one kind of prompts."""

    prompts: Table
    generations: Table
    identifications: Table
    diversities: Table
    fluencies: Table


TOXICITY = CompletionTables(PROMPTS, GENERATIONS, IDENTIFICATIONS, DIVERSITIES, FLUENCIES)
# Harmless prompts, whose completions show how well a model still speaks.
ABILITY = CompletionTables(*(define(f"ability_{table.name}", table.keys, table.columns) for table in TOXICITY))
PROMPT_TABLES = (TOXICITY.prompts, ABILITY.prompts)
GENERATION_TABLES = (TOXICITY.generations, ABILITY.generations)
