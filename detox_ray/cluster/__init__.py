"""The Ray that work runs on: joining or starting it, jobs of units on its actors, progress and interruption."""

from detox_ray.cluster.connection import LOOPBACK, Cluster, connect, keep_replica_on_loopback

__all__ = ["LOOPBACK", "Cluster", "connect", "keep_replica_on_loopback"]
