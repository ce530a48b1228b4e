"""The types of scorers: a module each, whose ``VARIANT`` is the type's class. Light on import.

A type that needs torch or talks to a server loads a scorer from a module of `detox_ray.score`.
"""
