"""Adapters of the one table: device records, counters, used proofs, the rate limiter and the sweep."""
