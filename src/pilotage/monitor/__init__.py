"""Monitors: verdicts on windows of sealed counts against the reference."""
