"""Data contracts: what a release takes as input; inferred from data, exchanged as ODCS, checked on every request."""
