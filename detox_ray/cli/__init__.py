"""The command line: parse, call, print; exit codes and tables for the terminal."""

from detox_ray.cli.app import app, main

__all__ = ["app", "main"]
