"""The record: journals that gateways write, the sealed ledger the steward makes of them, and proofs of it."""
