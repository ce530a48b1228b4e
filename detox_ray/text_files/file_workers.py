"""The workers that score units of a file: those of a run. Importing this module defines a file's tables on any node."""

from detox_ray.score.derived_scorers import DerivedWorker
from detox_ray.score.scoring import ScoringWorker
from detox_ray.text_files import score_tables  # noqa: F401  defines the tables that units are of


class FileScoringWorker(ScoringWorker):
    """Holds one scorer; scores a unit of a file's texts per call."""


class FileDerivedWorker(DerivedWorker):
    """Makes the units of one derived scorer from its members' units."""
