"""Sources of bias items, one per module; the class is the module's ``VARIANT``."""
