"""Google's MobileNet V1 and V2 TF-Hub modules, without TensorFlow."""

__version__ = "0.1.0"
