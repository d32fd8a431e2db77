"""The reference device: first boot, log-in and credentials, over HTTPS or MQTT.

It imports nothing of the service, so that it proves the wire; a device maker may copy it whole.
"""
