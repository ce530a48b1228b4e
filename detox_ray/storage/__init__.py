"""A run's folder, on this machine or in a bucket: tables and their units, files, and the lock that one run holds."""

from detox_ray.storage import tables  # noqa: F401  defines the tables that every store knows
from detox_ray.storage.folder import KEY_LENGTH, Fence, Folder, StoreError, cache_folder, key_of
from detox_ray.storage.store import Store, Superseded
from detox_ray.storage.unit_tables import UnitTables
from detox_ray.storage.units import TABLES, Table, Unit, define

__all__ = [
    "KEY_LENGTH",
    "TABLES",
    "Fence",
    "Folder",
    "Store",
    "StoreError",
    "Superseded",
    "Table",
    "Unit",
    "UnitTables",
    "cache_folder",
    "define",
    "key_of",
]
