"""What is kept of a run on disk: parts, their manifest, and the single files made of them."""
