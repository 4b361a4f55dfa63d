"""Zero-reference training: recipes, losses, darkened photos, and one step."""
