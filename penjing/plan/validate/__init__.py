"""Predicted against measured: rows of public measurements through the same cost model."""
