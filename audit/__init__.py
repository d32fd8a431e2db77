"""Third-party tools that check what is deployed. `make audit` runs them."""
