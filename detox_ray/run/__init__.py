"""An experiment carried through its stages: the plan, the pipeline, the record, and what a finished run holds."""
