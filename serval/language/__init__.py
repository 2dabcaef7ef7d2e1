"""Language models: decoders, what they remember, and how they speak. Import the modules; this file loads nothing."""
