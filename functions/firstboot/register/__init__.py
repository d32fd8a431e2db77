"""AWS IoT follows the device records: reconcile, withdraw, JITR, the sweep.

Read `reconcile` and `withdraw`. `changes` decides what a changed record means, `jitr` what becomes of a
certificate that AWS IoT registered by itself, `sweep` what a changed fleet means. `handlers` binds them to
their queues, the stream and the schedule; `build` wires them to AWS.
"""
