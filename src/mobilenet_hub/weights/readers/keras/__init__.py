"""Readers of what Keras and TensorFlow.js write, without either."""
