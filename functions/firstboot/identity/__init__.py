"""Identify the caller over any transport.

`proof` and `connection` establish possession of a certificate's key, `admission` admits a device with a
bootstrap certificate, `login` logs it in with an operational one.
"""
