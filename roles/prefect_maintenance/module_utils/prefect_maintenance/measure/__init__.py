"""What is there: sizes, disk space, the shape of a table, what stands in the way."""
