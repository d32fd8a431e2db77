"""The Lambda functions of `authority`: the issuing CA, made once and then only read.

`resource` is called by CDK's provider framework, `watch` by a daily schedule.
"""

from firstboot.authority import build
from firstboot.authority.handlers import refuse_deployment
from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.runtime.event import event_function

resource = event_function("authority", build.resource, AuthoritySettings.read, refuse_deployment)
watch = event_function("authority", build.watch, WatchSettings.read)
