"""`draft-pipeline`: the command line. One module per group of commands; heavy things are imported inside commands."""

import sys
from importlib import import_module
from typing import Final

import typer

# The modules by what one wants to do; the order is that of the help.
PANELS: Final[dict[str, tuple[str, ...]]] = {
    "Run": ("demo", "running", "web", "mail_in", "migrating", "topics", "producing"),
    "Look": ("doctor", "smoke", "lag", "idle", "explain", "runs", "dead_letters", "schema", "asyncapi", "validate"),
    "Decide": ("workspace", "policy", "switch", "knowledge", "slots", "suppression", "token"),
    "Judge": ("evaluate", "evaluate_gates", "replay", "calibrate"),
    "Keep house": ("pruning", "erasing", "importing", "backfill", "quarantining"),
    "Analyse": ("export", "tail", "sample", "dictionary"),
}

app = typer.Typer(
    name="draft-pipeline",
    help="Answers inbound messages: drafts, judges, revises, then sends or asks a person.",
    epilog="Begin with: draft-pipeline demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from app import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_version, is_eager=True),
) -> None:
    """The options before the command."""


# A group without a name offers its commands at the top level.
for _panel, _names in PANELS.items():
    for _name in _names:
        app.add_typer(import_module(f"app.cli.{_name}").group, rich_help_panel=_panel)


def main() -> None:
    """The console script. 0: done, 1: a problem was found, 2: wrong use. An error is one line, never a traceback."""
    from app.cli.errors import tell

    try:
        app()
    except Exception as error:
        sys.exit(tell(error))
