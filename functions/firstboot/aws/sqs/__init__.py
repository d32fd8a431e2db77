"""Adapters of queues and of their dead-letter queues."""
