"""The console as a process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess

import pytest

from tests.processes import interruptible

COMMAND = interruptible("console", "devices", "list")


# How a shell without job control starts a command that ends with `&`.
IN_THE_BACKGROUND = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]


@pytest.mark.parametrize("prefix", [[], IN_THE_BACKGROUND], ids=["terminal", "background"])
def test_ctrl_c_ends_it_cleanly(prefix: list[str]) -> None:
    """Interrupted while AWS does not answer: exit code 130, and no traceback."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        environment = os.environ | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
        }
        with subprocess.Popen(
            [*prefix, *COMMAND], env=environment, stderr=subprocess.PIPE, text=True
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
            connection.close()
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_without_aws_settings_it_says_so() -> None:
    """No region and no credentials: exit code 3 and a sentence, not a traceback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= dict.fromkeys(["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"], os.devnull)
    environment["AWS_EC2_METADATA_DISABLED"] = "true"
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "region" in done.stderr
    assert "Traceback" not in done.stderr
