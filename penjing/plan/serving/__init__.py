"""Serving: every way to run a model on a budget, and what its users see."""
