"""For each system one small honest experiment: its method against its baselines, on the same data, with several seeds."""
