"""Kinema sees, reads and writes human motion."""

__version__ = "0.1.0"
