"""Adapters of the bucket: certificates, the published fleet, the CA's certificate and the truststore."""
