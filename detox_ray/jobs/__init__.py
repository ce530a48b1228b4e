"""Runs as jobs of a Ray cluster: submit, follow, cancel and resume them, and record them in the run's own folder.

Ray forgets its jobs with its head, and loses a job's log with its node. So the driver of a job writes its state, log
and outcome into the run's folder (attempts.py), which outlives the cluster.
"""
