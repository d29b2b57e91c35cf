"""HTTP without trust: bounded in size and time, and ended at once when nobody waits any more."""
