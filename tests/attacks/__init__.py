"""Attacks and mistakes, each carried out: a file for each finding, over the strongest stack that shows it.

docs/security-model.md names the file that shows each of its claims.
"""
