"""Forget the image that a text-to-image model has memorised for a prompt."""
