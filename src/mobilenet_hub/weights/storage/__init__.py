"""Where weights are kept and fetched from: cache, pins, downloads."""
