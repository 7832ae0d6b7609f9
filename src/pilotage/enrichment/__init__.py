"""Features that a request does not bring: drawn from a feature source by an entity's key."""
