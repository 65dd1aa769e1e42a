"""How loud other people's libraries are."""

import logging


def quiet_libraries() -> None:
    """Faust and mode tell every step of every service at INFO; only their warnings are news."""
    for name in ("faust", "mode", "aiokafka", "app.kafka.engine", "httpx2", "openai"):
        logging.getLogger(name).setLevel(logging.WARNING)
