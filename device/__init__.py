"""The reference device: first boot, log-in and credentials, over HTTPS or MQTT.

It imports nothing of the service, so that its tests prove the protocol, and a device maker can copy the
folder. `pip wheel ./device` builds it as the package firstboot-device, which is imported as firstboot_device.
"""

__version__ = "0.1.0"
