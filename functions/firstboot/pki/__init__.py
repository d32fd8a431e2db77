"""Parse, verify and build certificates, CSRs, signed proofs and tokens. Nothing here does input or output."""
