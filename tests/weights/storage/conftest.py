"""Every test of the storage begins with an empty cache."""

from weights_support import empty_cache

__all__ = ["empty_cache"]
