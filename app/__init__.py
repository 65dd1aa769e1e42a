"""The rim: everything that touches the world."""

from importlib.metadata import version

__version__ = version("draft-pipeline")
