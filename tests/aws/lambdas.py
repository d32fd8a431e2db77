"""The Lambda functions in this process, built as the Lambda files build them, with the test's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

import firstboot.assign.build
import firstboot.authority.build
import firstboot.exchange.build
import firstboot.operate.build
import firstboot.register.build
import firstboot.vend.build
from firstboot.assign.endpoint import refuse
from firstboot.assign.settings import AssignSettings
from firstboot.authority.handlers import refuse_deployment
from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.domain.clock import utc_now
from firstboot.exchange.settings import ExchangeSettings, ProvisioningSettings
from firstboot.operate.settings import OperateSettings, ReadSettings
from firstboot.register.handlers import sweep_again
from firstboot.register.settings import JitrSettings, QueuesSettings, SweepSettings, WorkSettings
from firstboot.runtime.event import event_function, repeat, repeat_unless_refused
from firstboot.runtime.http import http_function
from firstboot.runtime.invoke import invoke_function
from firstboot.runtime.mqtt import mqtt_function
from firstboot.runtime.queue import queue_function
from firstboot.vend.settings import VendSettings
from tests.aws.rows_touched import ROLES, playing


class Lambdas:
    """One process of every Lambda function, each of which reads its settings at its first call.

    `clock` may be replaced at any time. A function that waits then sets `paused` forward instead.
    """

    def __init__(self) -> None:
        self.clock: Callable[[], datetime] = utc_now
        self.paused = timedelta()
        self.restart()

    def now(self) -> datetime:
        """Return the time as the functions see it."""
        return self.clock() + self.paused

    def pause(self, seconds: float) -> None:
        """Wait as the functions do."""
        if self.clock is utc_now:
            time.sleep(seconds)
        else:
            self.paused += timedelta(seconds=seconds)

    def restart(self) -> None:
        """Replace every process by a new one, without anything that the old one had kept."""
        self.restart_readers()
        self._restart_others()

    def restart_readers(self) -> None:
        """Replace the processes that keep a fleet definition."""
        exchange, vend, now = firstboot.exchange.build, firstboot.vend.build, self.now
        read = ExchangeSettings.read
        self.exchange_http = http_function("exchange", exchange.http, read, now)
        self.exchange_mqtt = mqtt_function("exchange", exchange.mqtt, read, now)
        self.presence = event_function("exchange", exchange.presence, read, repeat_unless_refused, now)
        self.provisioning = event_function(
            "exchange",
            exchange.provisioning,
            ProvisioningSettings.read,
            exchange.refuse_provisioning,
            now,
        )
        self.vend_http = http_function("vend", vend.http, VendSettings.read, now)
        self.vend_mqtt = mqtt_function("vend", vend.mqtt, VendSettings.read, now)
        authorize = firstboot.assign.build.authorize
        self.authorize = event_function("assign", authorize, AssignSettings.read, refuse, now)

        register = firstboot.register.build
        self.work = queue_function("register", register.work, WorkSettings.read, now, self.pause)
        self.jitr = queue_function("register", register.jitr, JitrSettings.read, now, self.pause)
        self._play("exchange_http", "exchange_mqtt", "presence", "vend_http", "vend_mqtt", "authorize")
        self._play("work", "jitr", "provisioning")

    def _restart_others(self) -> None:
        register, operate, now = firstboot.register.build, firstboot.operate.build, self.now
        self.changes = event_function("register", register.changes, QueuesSettings.read, repeat, now)
        self.lost = queue_function("register", register.lost, QueuesSettings.read, now, self.pause)
        self.sweep = event_function("register", register.sweep, SweepSettings.read, sweep_again, now)
        self.invoke = invoke_function("operate", operate.invoke, OperateSettings.read, now)
        self.read = invoke_function("operate", operate.read, ReadSettings.read, now)
        self.resource = event_function(
            "authority",
            firstboot.authority.build.resource,
            AuthoritySettings.read,
            refuse_deployment,
            now,
        )
        self.watch = event_function(
            "authority", firstboot.authority.build.watch, WatchSettings.read, repeat, now
        )
        self._play("sweep", "invoke", "read")

    def _play(self, *names: str) -> None:
        """Have these functions checked against the rights of their roles."""
        for name in names:
            setattr(self, name, playing(ROLES[name], getattr(self, name)))
