// Only the dependency counts.
