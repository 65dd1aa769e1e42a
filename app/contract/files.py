"""The files of the contract that are committed, and how they are made: `make contract`.

`deploy/contract/VERSION/` holds the JSON Schemas as that version published them. They are written once and then only
compared with: whoever built on them must not notice a change.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

from app import __version__
from app.contract.asyncapi import document
from app.contract.compatibility import Direction, breaches
from app.contract.pages import page
from schemas.events import PUBLIC_EVENTS, InboundMessage, json_schema

SCHEMAS: Final = Path("contract")
PAGES: Final = Path("topics")


def written(value: Any) -> str:
    """JSON as it is committed."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def schema_files() -> dict[str, str]:
    """Name to content of the JSON Schema of every public topic."""
    return {f"{name}.json": written(json_schema(name)) for name in PUBLIC_EVENTS}


def files() -> dict[Path, str]:
    """Path below `deploy/` to content: what is made anew each time."""
    return {
        SCHEMAS / "asyncapi.json": written(document()),
        **{SCHEMAS / name: content for name, content in schema_files().items()},
        **{PAGES / f"{name}.md": page(name) for name in PUBLIC_EVENTS},
    }


def direction_of(topic: str) -> Direction:
    return Direction.INPUT if topic == InboundMessage.topic else Direction.OUTPUT


def broken(deploy: Path) -> list[str]:
    """What the events of today break for those who built on a published version, as `VERSION TOPIC field: what`."""
    found = []
    for path in sorted((deploy / SCHEMAS).glob("*/*.json")):
        version, name = path.parent.name, path.stem
        if name not in PUBLIC_EVENTS:
            found.append(f"{version} {name} the topic is gone")
            continue
        lines = breaches(direction_of(name), json.loads(path.read_text("utf-8")), json_schema(name))
        found += [f"{version} {name} {line}" for line in lines]
    return found


def main(deploy: Path) -> int:
    """Write them, unless that would break somebody; this version's published schemas only when it has none yet."""
    if wrong := broken(deploy):
        sys.stderr.write("\n".join([*wrong, "nothing was written: a change that breaks is a new version"]) + "\n")
        return 1
    made = files()
    published = deploy / SCHEMAS / __version__
    if not published.exists():
        made |= {SCHEMAS / __version__ / name: content for name, content in schema_files().items()}
    for path, content in made.items():
        (deploy / path).parent.mkdir(parents=True, exist_ok=True)
        (deploy / path).write_text(content, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
