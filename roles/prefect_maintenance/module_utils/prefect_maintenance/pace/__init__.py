"""Between two batches: go on, wait, or stop, and why."""
