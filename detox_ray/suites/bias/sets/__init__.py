"""Sources of bias items, one in each module: its class is the module's ``VARIANT``."""
