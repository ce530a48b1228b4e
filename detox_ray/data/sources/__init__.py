"""The sources that we know: one class in one module, found by its name (`detox_ray.config.data.sources_of`)."""
