"""A gate that was taught when to speak: what it reads (`reader`), its network (`head`), and the gate itself (`gate`).

``gate.safetensors`` are its weights, and MODEL_CARD.md says what they were taught with and what they cannot do.
"""
