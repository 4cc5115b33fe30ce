"""Make a trained image classifier forget some of its training data, and measure whether it did."""

__version__ = "0.1.0"
