"""The command line: commands, exit codes, and tables for the terminal."""

from detox_ray.cli.app import app, main

__all__ = ["app", "main"]
