"""Rehearsals of what must work when things go wrong, made on the installation that serves; each leaves evidence."""
