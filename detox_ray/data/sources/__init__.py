"""Where rows come from: one class per source in one module."""
