"""The last blocks of a network, or all, trained on photos."""
