"""Will it fit: memory of a run, from its configurations alone."""
