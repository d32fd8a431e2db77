"""The fleet folder to a checked fleet (`fleet`), at build time and in `operate`."""
