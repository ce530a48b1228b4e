"""Training: fine-tunes a model from its parent on preference pairs or a corpus, by Ray Train, DeepSpeed and TRL.

Light on import: torch, Ray and the trainers are imported only by the functions that train.
"""

from detox_ray.train.checkpoint_import import import_checkpoint, import_key
from detox_ray.train.job import TrainingError, train
from detox_ray.train.settings import VERSION, check, key

__all__ = ["VERSION", "TrainingError", "check", "import_checkpoint", "import_key", "key", "train"]
