"""Pilotage takes an AI pilot to governed production."""

__all__ = ["__version__"]

__version__ = "0.1.0"
