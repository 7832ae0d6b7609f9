"""Replay: a recorded decision is answered again in the environment that it names, and compared bit by bit."""
