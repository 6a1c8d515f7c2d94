"""Is a prompt's picture memorised, how is its prompt loosened, and which samples copy it."""
