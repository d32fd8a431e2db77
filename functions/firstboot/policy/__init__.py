"""Which grants a device holds (`rules`), and the policies they become within AWS's limits (`render`)."""
