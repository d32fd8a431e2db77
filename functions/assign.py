"""The Lambda function of `assign`, AWS IoT's custom authorizer: a token becomes a connection's policies."""

from firstboot.assign import build
from firstboot.assign.endpoint import refuse
from firstboot.assign.settings import AssignSettings
from firstboot.runtime.event import event_function

authorize = event_function("assign", build.authorize, AssignSettings.read, refuse)
