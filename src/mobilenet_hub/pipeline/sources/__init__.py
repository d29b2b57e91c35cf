"""Sources: where images come from, opened by suffix, yielded as items."""
