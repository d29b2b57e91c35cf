"""HTML pages that need nothing else: no script, no other file, no network; light and dark."""
