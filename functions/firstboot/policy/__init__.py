"""Decide which grants a device holds (`rules`), and render them as policies (`render`)."""
