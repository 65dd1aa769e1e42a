"""What calls cost, from the price table of genai-prices, offline. An unknown model has no price, which is not 0.

The library takes about 100 microseconds a call; prices are linear in tokens below the long-context tiers, so the rates
of a model are asked for once. Larger requests go to the library each time.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from agents.ports import Usage

PROVIDER: Final = "openai"
SAMPLE_TOKENS: Final = 1_000
LINEAR_TOKENS_MAX: Final = 100_000
# English has about 4.4 bytes a token, German 3.8, Chinese 3.3, numbers and code 3. A worst case rounds up.
INPUT_BYTES_PER_TOKEN: Final = 3
# Roles and separators that a provider counts beside the text.
FRAMING_TOKENS: Final = 32


@dataclass(frozen=True)
class _Rates:
    """USD per token below the first tier."""

    fresh: float
    cached: float
    output: float


def cost_usd(model: str, usage: Usage) -> float | None:
    """What `usage` costs in USD; None when the price is not known. Reasoning tokens are part of the output tokens."""
    if usage.input_tokens > LINEAR_TOKENS_MAX:
        return _exact(model, usage.input_tokens, usage.cached_tokens, usage.output_tokens)
    rates = _rates(model)
    if rates is None:
        return None
    fresh = max(usage.input_tokens - usage.cached_tokens, 0)
    return fresh * rates.fresh + usage.cached_tokens * rates.cached + usage.output_tokens * rates.output


def estimated_tokens(*parts: str) -> int:
    """Tokens of a prompt, rounded up: its UTF-8 bytes by `INPUT_BYTES_PER_TOKEN`, and the framing."""
    return math.ceil(sum(len(part.encode()) for part in parts) / INPUT_BYTES_PER_TOKEN) + FRAMING_TOKENS


@cache
def table_models() -> frozenset[str]:
    """The names in the price table that an OpenAI request may bear: every model's id and its exact aliases."""
    from genai_prices import data_snapshot  # the table takes 30 ms to load: only who asks pays

    providers = (provider for provider in data_snapshot.get_snapshot().providers if provider.id == PROVIDER)
    return frozenset(
        name for provider in providers for model in provider.models for name in (model.id, *_equals(model.match))
    )


def _equals(match: Any) -> list[str]:
    """The names in a match rule that are compared as a whole."""
    nested = (*getattr(match, "or_", ()), *getattr(match, "and_", ()))
    name = getattr(match, "equals", None)
    return [name for part in nested for name in _equals(part)] + ([name] if isinstance(name, str) else [])


@cache
def _rates(model: str) -> _Rates | None:
    fresh = _exact(model, SAMPLE_TOKENS, 0, 0)
    cached = _exact(model, SAMPLE_TOKENS, SAMPLE_TOKENS, 0)
    output = _exact(model, 0, 0, SAMPLE_TOKENS)
    if fresh is None or cached is None or output is None:
        return None
    return _Rates(fresh / SAMPLE_TOKENS, cached / SAMPLE_TOKENS, output / SAMPLE_TOKENS)


def _exact(model: str, input_tokens: int, cached_tokens: int, output_tokens: int) -> float | None:
    import genai_prices

    usage = genai_prices.Usage(
        input_tokens=input_tokens, cache_read_tokens=min(cached_tokens, input_tokens), output_tokens=output_tokens
    )
    try:
        return float(genai_prices.calc_price(usage, model, provider_id=PROVIDER).total_price)
    except (LookupError, ValueError):
        return None
