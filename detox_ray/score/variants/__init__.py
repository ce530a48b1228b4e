"""The types of scorers, one per module, with the type's class as ``VARIANT``. Importing them is cheap.

A type that needs torch or a server loads its scorer from a module of `detox_ray.score`.
"""
