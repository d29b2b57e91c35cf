"""Which photos there are, on which side each is, and their features."""
