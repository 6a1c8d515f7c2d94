"""Text-to-image models: families, prompts encoded once, loading and saving of whole pipelines."""
