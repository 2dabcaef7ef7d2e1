"""Hearing all the time, and answering only what is meant for Serval."""
