"""Settings: sections with declared ranges, and how they are read."""
