"""The whole product on one machine: the real stack, deployed by the real CDK CLI into an emulated AWS."""
