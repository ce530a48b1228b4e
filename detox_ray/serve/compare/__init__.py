"""The comparison: the same prompts and seeds through several models, each completion scored."""
