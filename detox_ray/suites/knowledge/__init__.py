"""Knowledge: questions of lm-evaluation-harness tasks, answered on our own actors."""
