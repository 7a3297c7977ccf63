"""Learn: from rewards and texts to gradients, and from a recipe to a model."""
