"""The dynamic probes: the pilot's environment, its model, its tests and its service, each in a box."""
