"""AWS IoT's custom authorizer: a token in, a connection's policies out. Read `connect`."""
