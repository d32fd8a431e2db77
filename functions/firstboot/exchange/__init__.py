"""Certificates for devices: enroll, renew and commit.

Read `exchange`, then `enroll` or `renew`, then `issue`. `messages` is the wire format, `endpoints` connects
it with the use cases, `build` wires the use cases to AWS.
"""
