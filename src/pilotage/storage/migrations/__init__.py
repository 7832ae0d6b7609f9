"""The history of the database schema: one for both parts, each part with its own version table."""
