"""lintf: what (linear) transformers learn in context, from one small package."""

__version__ = "0.1.0"
