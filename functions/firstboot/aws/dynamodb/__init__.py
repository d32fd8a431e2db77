"""The one table: device records, claims, counters, used proofs, the rate limiter and the sweep."""
