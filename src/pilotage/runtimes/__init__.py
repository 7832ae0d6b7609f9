"""How a release answers: the port, its implementations, and the environment they run in."""
