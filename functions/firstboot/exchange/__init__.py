"""Certificates for devices: enroll, renew, commit.

Read `exchange`, then `enroll` or `renew`, then `issue`. `messages` is the wire format, `endpoints` binds it
to the use cases, `build` wires them to AWS.
"""
