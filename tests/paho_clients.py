"""Ends MQTT clients of paho-mqtt in tests."""

from __future__ import annotations

from paho.mqtt.client import Client


def end(client: Client) -> None:
    """Disconnect `client` and close all its sockets.

    `loop_stop` leaves a pair of sockets to the client's finalizer. The garbage collector may warn of them
    before that runs, during an unrelated test.
    """
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()
