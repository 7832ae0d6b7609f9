"""Pure ground floor: identifiers, clock, digests, canonical JSON."""
