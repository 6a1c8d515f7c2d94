"""What a run leaves for others: the evidence pack, its check, and the model card."""
