"""`python -m app.cli`, for processes that are started without the console script."""

from app.cli import main

main()
