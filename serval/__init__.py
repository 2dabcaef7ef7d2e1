"""Serval: a proactive watcher, and the toolkit of multimodal models behind it."""

__version__ = "0.1.0"
