"""From features to language tokens: projectors, query readers, pooling and the planning of tiles."""
