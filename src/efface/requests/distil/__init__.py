"""Forget nothing yet: make the one-step generator that later requests start from."""
