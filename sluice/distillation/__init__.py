"""Makes a small model learn from a large one, its layers or another shape, and measures how like it becomes."""
