"""What others' tools say of what is deployed. `make audit` runs it."""
