"""The operator's command line. It calls the `operate` Lambda by IAM-authorised Invoke."""
