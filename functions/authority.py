"""The Lambda functions of `authority`, which makes the issuing CA once and then only reads it.

CDK's provider framework calls `resource`. An hourly schedule calls `watch`.
"""

from firstboot.authority import build
from firstboot.authority.handlers import refuse_deployment
from firstboot.authority.settings import AuthoritySettings, WatchSettings
from firstboot.runtime.event import event_function

resource = event_function("authority", build.resource, AuthoritySettings.read, refuse_deployment)
watch = event_function("authority", build.watch, WatchSettings.read)
