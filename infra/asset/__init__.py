"""The parts of the Lambda assets: which modules a Lambda imports, and what of each package it needs."""
