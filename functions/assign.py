"""The Lambda function of `assign`: AWS IoT's custom authorizer, a token in, a connection's policies out."""

from firstboot.assign import build
from firstboot.assign.endpoint import refuse
from firstboot.assign.settings import AssignSettings
from firstboot.runtime.event import event_function

authorize = event_function("assign", build.authorize, AssignSettings.read, refuse)
