"""Training and reinforcement learning: every way to lay out a step."""
