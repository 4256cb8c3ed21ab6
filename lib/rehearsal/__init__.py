"""Rehearse a model release on every segment of users before users meet it."""

__version__ = "0.1.0"
