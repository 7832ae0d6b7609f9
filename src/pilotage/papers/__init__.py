"""Papers about a release, made from evidence: cards, data sheet, bill of materials, release notes."""
