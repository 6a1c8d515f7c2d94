"""A benchmark: methods on the same requests, seeds and budget, measured alike."""
