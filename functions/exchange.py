"""The Lambda functions of `exchange`: enroll, renew and commit.

`http` answers API Gateway, `mqtt` the topic rules of requests, `presence` the topic rule of connections. They
are separate functions with the same code and rights. One function for all sources would have to recognise
each source by the content of its event, and a device chooses the content of an MQTT payload. `provisioning`
is AWS IoT's pre-provisioning hook, in a deployment with fleet provisioning.
"""

from firstboot.exchange import build
from firstboot.exchange.settings import ExchangeSettings, ProvisioningSettings
from firstboot.runtime.event import event_function, repeat_unless_refused
from firstboot.runtime.http import http_function
from firstboot.runtime.mqtt import mqtt_function

http = http_function("exchange", build.http, ExchangeSettings.read)
mqtt = mqtt_function("exchange", build.mqtt, ExchangeSettings.read)
provisioning = event_function(
    "exchange", build.provisioning, ProvisioningSettings.read, build.refuse_provisioning
)
presence = event_function("exchange", build.presence, ExchangeSettings.read, repeat_unless_refused)
