"""Models that ship, and how they are made."""
