"""`mail-in`: mail over LMTP or SMTP, onto `inbound-message`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, EnvFile, Problem, run

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command("mail-in", epilog="Example: draft-pipeline mail-in --lmtp --port 8024 --env-file local.env")
def mail_in(
    env_file: EnvFile = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.")] = 8024,
    lmtp: Annotated[bool, typer.Option("--lmtp", help="Speak LMTP instead of SMTP.")] = False,
) -> None:
    """Take mail from a mail server of yours until SIGTERM; it is accepted when the broker has it.

    A recipient belongs to the workspace whose channels.email names it, as `from` or in the list `inbound`. There is no
    login and no TLS: stand it behind a mail server, never on the internet.
    """

    async def work(config: Config) -> int:
        from app.logging import configure_logging
        from app.mail_in.listener import run_mail_in

        configure_logging(config.log_level)
        try:
            await run_mail_in(config, host, port, lmtp=lmtp)
        except OSError as error:
            raise Problem(f"{host}:{port} or a server it needs cannot be used ({type(error).__name__})") from None
        return OK

    run(env_file, "web", work)
