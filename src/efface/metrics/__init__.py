"""Evidence: the file name is the metric's name."""
