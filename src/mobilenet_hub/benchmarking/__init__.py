"""How fast is this machine? Each engine and precision in a process of its own."""
