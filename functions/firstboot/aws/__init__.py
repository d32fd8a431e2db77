"""Every call to AWS: adapters of the ports that the use cases declare. All botocore is here."""
