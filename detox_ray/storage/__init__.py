"""A run's folder, on this machine or in a bucket: tables and their units, files, and the lock that one run holds."""

from detox_ray.storage.folder import KEY_LENGTH, Fence, Folder, StoreError, cache_folder, key_of
from detox_ray.storage.store import Store, Superseded, Unit

__all__ = ["KEY_LENGTH", "Fence", "Folder", "Store", "StoreError", "Superseded", "Unit", "cache_folder", "key_of"]
