"""State: the home folder, SQL databases, content-addressed objects, the outbox of events."""
