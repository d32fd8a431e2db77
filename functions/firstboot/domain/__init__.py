"""The values and decisions that every package uses, free of protocols and frameworks.

The module to read first is `device`.
"""
