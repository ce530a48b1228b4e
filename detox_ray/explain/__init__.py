"""The explain stage: which neurons write toxicity, what tuning changed in them, and why the change carries over to
other languages.

The numerics (`reading`, `probe`, `vectors`, `attribution`, `alignment`, `correlation`, …) take models, arrays and
tables, and know neither Ray nor files.
"""
