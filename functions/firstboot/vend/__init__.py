"""Credentials for devices, and what a device may know of its own record.

Read `vend`. `credential_provider` is AWS IoT's wire format, `record` the device's own; `build` wires them to
AWS.
"""
