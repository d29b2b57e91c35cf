"""Weights from anywhere: imported, converted to other formats, batch norm calibrated."""
