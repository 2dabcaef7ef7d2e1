"""Tokens from a decoder: picked by the model's numbers, within what is allowed, until there is a reason to end."""
