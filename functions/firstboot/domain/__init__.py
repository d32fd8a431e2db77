"""Values and decisions that every package uses, without any protocol or framework. Begin with `device`."""
