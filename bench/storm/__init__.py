"""A storm: many devices that get power at the same time. `make storm` runs it and writes docs/storm.md."""
