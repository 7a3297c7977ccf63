"""A model's samples on the problems of a task: generated, kept, measured and compared."""
