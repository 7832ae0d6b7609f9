"""Leaks: what a table gives away that a model will not know when it decides."""
