"""Adapters of AWS IoT: its registry, its policies and its messages."""
