"""How small models and their classifiers are made from a recipe."""
