"""Models that see: a vision tower, a connector and a decoder as one module, read from Hugging Face's folders."""
