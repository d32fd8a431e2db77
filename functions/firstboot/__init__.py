"""Credentials for devices, from first boot on. What every Lambda shares."""
