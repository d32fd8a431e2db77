"""Keep the AWS IoT registry consistent with the device records: reconcile, withdraw, JITR, the sweep.

Read `reconcile` and `withdraw`. `changes` decides whether a changed record needs a reconciliation, `jitr`
what becomes of a certificate that AWS IoT registered by itself, and `sweep` which devices a changed fleet
affects. `handlers` connects them with their queues, the stream and the schedule; `build` wires them to AWS.
"""
