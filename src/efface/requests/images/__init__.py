"""Forget particular images."""
