"""Adapters that make all calls to AWS, for the ports that use cases declare. Only they import botocore."""
