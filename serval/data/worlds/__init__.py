"""Worlds made deterministic from seeds, with everything that happens in them known exactly."""
