"""Mutation testing: `make mutation` (docs/testing.md)."""
