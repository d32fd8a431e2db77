"""Check a fleet folder and compile it, at build time and in `operate`. The entry point is `fleet`."""
