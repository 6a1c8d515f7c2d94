"""What a step is fed with: batches, images, conditions, derived randomness."""
