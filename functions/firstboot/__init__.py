"""Credentials for devices, from first boot on.

There is a package for each Lambda (`exchange`, `vend`, `assign`, `register`, `operate`, `authority`); the
other packages are shared. A package imports only from those below it: `runtime`, `aws`, `identity`,
`compiler`, `policy`, `pki`, `domain`. Only a Lambda's `build` module imports `aws`.
"""
