"""The Lambda function of `assign`: AWS IoT's custom authorizer, a token in, a connection's policies out."""

from firstboot.assign import build
from firstboot.assign.endpoint import refuse
from firstboot.runtime.event import event_function
from firstboot.runtime.settings import AssignSettings

authorize = event_function("assign", build.authorize, AssignSettings.read, refuse)
