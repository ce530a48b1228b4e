"""Training: fine-tunes a model from its parent on preference pairs or a corpus, with Ray Train, DeepSpeed and TRL.

This package is light to import: only the functions that train import torch, Ray and the trainers.
"""

from detox_ray.train.checkpoint_import import import_checkpoint, import_key
from detox_ray.train.job import TrainingError, train
from detox_ray.train.settings import VERSION, check, key

__all__ = ["VERSION", "TrainingError", "check", "import_checkpoint", "import_key", "key", "train"]
