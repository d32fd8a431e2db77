"""The Lambda functions of `register`, which keep the AWS IoT registry consistent with the device records.

No other Lambda function writes to AWS IoT's control plane. `work` handles the queues of orders, `changes` the
table's stream, `lost` the batches of the stream that `changes` failed on, `sweep` a schedule and published
fleets, `jitr` the queues of certificates that AWS IoT registered by itself.
"""

from firstboot.register import build
from firstboot.register.handlers import sweep_again
from firstboot.register.settings import JitrSettings, QueuesSettings, SweepSettings, WorkSettings
from firstboot.runtime.event import event_function
from firstboot.runtime.queue import queue_function

work = queue_function("register", build.work, WorkSettings.read)
changes = event_function("register", build.changes, QueuesSettings.read)
lost = queue_function("register", build.lost, QueuesSettings.read)
sweep = event_function("register", build.sweep, SweepSettings.read, sweep_again)
jitr = queue_function("register", build.jitr, JitrSettings.read)
