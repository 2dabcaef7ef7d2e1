"""Coverage-guided fuzzing of what reads strangers' bytes: `make fuzz`; a bounded run is part of `make check`."""
