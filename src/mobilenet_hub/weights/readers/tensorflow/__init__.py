"""Readers of what TensorFlow writes, without TensorFlow."""
