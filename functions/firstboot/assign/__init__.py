"""AWS IoT's custom authorizer: a token becomes a connection's policies. Read `connect`."""
