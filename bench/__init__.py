"""Measure and simulate the product. `make storm` and `make bench` run this and write their pages."""
