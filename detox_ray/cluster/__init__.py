"""Ray: joining or starting a cluster, jobs of units on its actors, progress reports and interruption."""

from detox_ray.cluster.connection import LOOPBACK, Cluster, connect, keep_replica_on_loopback

__all__ = ["LOOPBACK", "Cluster", "connect", "keep_replica_on_loopback"]
