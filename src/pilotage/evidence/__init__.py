"""Evidence: dated, expiring facts about a subject digest, made by collectors."""
