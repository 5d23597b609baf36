"""The package's version, for code that `subsel/__init__.py` imports."""

__version__ = "0.1.0"
