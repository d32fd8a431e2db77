"""Who is calling, over any transport: possession of a key, admission of a device, login with its own."""
