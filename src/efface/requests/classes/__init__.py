"""Forget labels of a class-conditional model."""
