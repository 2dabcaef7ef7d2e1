"""Systems that follow a stream, and decide for themselves when to speak."""
