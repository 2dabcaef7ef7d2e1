"""Measuring honestly: what was said against what happened."""
