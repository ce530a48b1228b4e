"""Ray-distributed benchmarking of cross-lingual detoxification."""

__version__ = "0.1.0"
