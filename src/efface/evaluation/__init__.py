"""Evidence: every sample drawn once, all models by one protocol, the untouched one beside."""
