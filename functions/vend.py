"""The Lambda functions of `vend`: credentials for a device, and its own record.

`http` answers API Gateway, `mqtt` a topic rule. They are separate so that a device's payload is never read as
an event of API Gateway.
"""

from firstboot.runtime.http import http_function
from firstboot.runtime.mqtt import mqtt_function
from firstboot.vend import build
from firstboot.vend.settings import VendSettings

http = http_function("vend", build.http, VendSettings.read)
mqtt = mqtt_function("vend", build.mqtt, VendSettings.read)
