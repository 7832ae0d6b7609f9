"""Settings to running system: the only place that chooses implementations."""
