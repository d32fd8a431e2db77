"""Credentials for devices, from first boot on.

A package for each Lambda (`exchange`, `vend`, `assign`, `register`, `operate`, `authority`), and what they
share. A package imports only from those below it: `runtime`, `aws`, `identity`, `compiler`, `policy`, `pki`,
`domain`. Only a Lambda's `build` module imports `aws`.
"""
