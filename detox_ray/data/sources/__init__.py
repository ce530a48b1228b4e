"""Our sources, one class per module. `detox_ray.config.data.sources_of` finds them by name."""
