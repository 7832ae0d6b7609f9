"""Gateway nodes beside the steward's machine: who they are, and how their journals reach the ledger."""
