"""How tests end an MQTT client of paho-mqtt."""

from __future__ import annotations

from paho.mqtt.client import Client


def end(client: Client) -> None:
    """Disconnect `client` and close all its sockets.

    `loop_stop` leaves a pair of them to the client's finalizer, and the garbage collector may warn of them
    before that runs, in whichever test is running then.
    """
    client.disconnect()
    client.loop_stop()
    client._reset_sockets()
