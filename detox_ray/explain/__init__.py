"""Why tuning works: which neurons write toxicity, what tuning changed in them, and why that carries over to other
languages.

The numerics (`reading`, `probe`, `vectors`, `attribution`, `alignment`, `correlation`, …) take models, arrays and
tables, and know neither Ray nor files.
"""
