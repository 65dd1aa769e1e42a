"""Metrics: one catalogue (`catalogue.py`) of what is told, and the few places that tell it."""
