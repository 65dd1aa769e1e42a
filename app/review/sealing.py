"""What a button or a form carries: the draft as it was shown, signed. A late click is refused for what changed."""

from collections.abc import Iterable
from dataclasses import astuple
from typing import Final

from itsdangerous import BadData, URLSafeSerializer

from schemas.review import Binding

_SALT: Final = "draft-pipeline.review.2"


def seal(binding: Binding, secret: str) -> str:
    """The opaque word. It does not end by itself: its expiry is part of what the decision is checked against."""
    return str(URLSafeSerializer(secret, salt=_SALT).dumps(list(astuple(binding))))


def unseal(value: str, secrets: Iterable[str]) -> Binding | None:
    """The binding, or None when it was sealed with none of `secrets`. Never raises."""
    for secret in secrets:
        try:
            return Binding(*URLSafeSerializer(secret, salt=_SALT).loads(value))
        except (BadData, TypeError, ValueError):
            continue
    return None
