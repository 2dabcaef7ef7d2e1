"""Where pretrained parts come from: a pinned manifest, the packages' own clients, a cache, hashes and licences."""

from serval.weights.cache import PartMissing, locate, model_id

__all__ = ["PartMissing", "locate", "model_id"]
