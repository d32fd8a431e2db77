"""Certificates, CSRs, signed proofs and tokens: parsed, verified and built. Pure."""
