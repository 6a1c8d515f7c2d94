"""Forget what prompts name."""
