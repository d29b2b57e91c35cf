"""One reader per file format: bytes from anywhere to TF-Slim-named tensors, strictly."""

# Recorded in every converted file; raised when a reader's result changes.
CONVERTER_VERSION = "1"
