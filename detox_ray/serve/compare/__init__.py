"""The comparison: several models complete the same prompts with the same seeds, and each completion is scored."""
