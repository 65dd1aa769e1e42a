"""`web`: the process that people's clicks reach."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.shell import EnvFile

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline web --env-file local.env --port 8080", rich_help_panel="Run")
def web(
    env_file: EnvFile = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8080,
) -> None:
    """Serve the pages, their JSON, health and Slack's interactions until SIGTERM."""
    import uvicorn

    from app.config import NEEDS, load_config
    from app.logging import configure_logging
    from app.web.server import create_app

    config = load_config(env_file, NEEDS["web"])
    configure_logging(config.log_level)
    print(f"web pages at http://{host}:{port}, for people at {config.public_url}", flush=True)
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
