"""What the endpoints that OpenAI's clients know have in common."""
