"""AI systems, the unit of governance, as declared in `pilotage.yaml`."""
