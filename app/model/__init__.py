"""The model at the rim: one client over any OpenAI-compatible server, a circuit breaker per model, and prices."""

from app.model.breaker import Breaker
from app.model.client import ModelClient

__all__ = ["Breaker", "ModelClient"]
