"""From what the encoders saw to what is going on: tracks, changes, scenes, text."""

from serval.assistant.perception.perception import Perception

__all__ = ["Perception"]
