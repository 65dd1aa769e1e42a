"""`dictionary`: what each field of the topics and views means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.shell import OK, AsJson, EnvFile, WrongUse, connection_to, emit, run

if TYPE_CHECKING:
    from app.config import Config

group = typer.Typer()


@group.command(epilog="Example: draft-pipeline dictionary analytics.drafts", rich_help_panel="Analyse")
def dictionary(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="A topic or a view; none prints all.")] = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
) -> None:
    """Each field of the public topics and of the views for analysts: meaning, unit, range, since when."""

    async def work(config: Config) -> int:
        from app.dictionary import dictionary as all_sources
        from app.dictionary import markdown

        async with connection_to(config.database_url) as connection:
            sources = await all_sources(connection)
        chosen = [source for source in sources if name in (None, source.name, source.name.removeprefix("analytics."))]
        if not chosen:
            raise WrongUse(f"nothing is called {name}; there are {', '.join(source.name for source in sources)}")
        if as_json:
            emit([source.as_dict() for source in chosen])
        else:
            print(markdown(chosen), end="")
        return OK

    run(env_file, "database", work)
