"""The knowledge suite: tasks of the lm-evaluation-harness, answered on Ray actors."""
