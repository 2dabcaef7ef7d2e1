"""Saying things aloud: text to how it is spoken, and that to sound."""
