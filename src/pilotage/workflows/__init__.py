"""Durable work: a system's pipeline from data to a release, resumable, reproducible, scheduled."""
