"""The reference: enroll and vend in plain Powertools, boto3 and cryptography."""
