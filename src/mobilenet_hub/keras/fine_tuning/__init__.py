"""All layers of a network trained on photos."""
