"""`web`: the process that people's clicks reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import EnvFile, Problem, connection_to

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline web --env-file local.env --port 8080", rich_help_panel="Run")
def web(
    env_file: EnvFile = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8080,
) -> None:
    """Serve the pages, their JSON, health and Slack's interactions until SIGTERM."""
    import asyncio

    import uvicorn

    from app.config import NEEDS, load_config
    from app.logging import configure_logging
    from app.web.server import create_app

    config = load_config(env_file, NEEDS["web"])
    configure_logging(config.log_level)
    asyncio.run(_check(config))
    print(f"web pages at http://{host}:{port}, for people at {config.public_url}", flush=True)
    try:
        # Who stands before us is decided by TRUSTED_PROXIES alone: uvicorn would believe any header from loopback.
        uvicorn.run(
            create_app(config),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
    except SystemExit:  # how uvicorn ends when it could not begin, after it logged why
        raise Problem(f"{host}:{port} or another port it needs cannot be used; is it taken?") from None


async def _check(config: Config) -> None:
    """Raises Problem when database or schema are not what the pages need: uvicorn would only log a traceback."""
    from db import migrate

    async with connection_to(config.database_url) as connection:
        if (why := await migrate.too_old(connection)) is not None:
            raise Problem(why)
