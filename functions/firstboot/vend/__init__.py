"""Credentials for devices, and a device's view of its own record.

Read `vend`. `credential_provider` is AWS IoT's wire format, `record` Firstboot's own; `build` wires the use
cases to AWS.
"""
