"""Data sets in and out, and worlds made from seeds."""
