"""The folder of an export: one file a name and day, written whole or not at all; the same rows give the same bytes.

DIR/NAME/day=2026-11-21/data.parquet
DIR/NAME/_schema.json: what the fields mean; readers of a folder pass by names that begin with _
"""

import json
import os
from datetime import date
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS: Final = 100_000
DATA: Final = "data.parquet"
SCHEMA: Final = "_schema.json"
STATE: Final = ".export.json"
WORK: Final = ".work"


def day_file(root: Path, name: str, day: date) -> Path:
    """Where the rows of a day are; the folder's name is what readers take for the column `day`."""
    return root / name / f"day={day.isoformat()}" / DATA


def write_table(path: Path, table: pa.Table) -> None:
    """Write a whole file: synced under another name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".building")
    pq.write_table(table, building, compression="zstd", row_group_size=ROW_GROUP_ROWS)
    _settle(building, path)


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".building")
    building.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _settle(building, path)


def _settle(building: Path, path: Path) -> None:
    with building.open("rb") as file:
        os.fsync(file.fileno())
    building.replace(path)


class State:
    """What an export still has to do, kept beside its files so that the next call goes on where it stopped."""

    def __init__(self, root: Path) -> None:
        self._path = root / STATE
        self.content: dict[str, Any] = {"topics": {}, "views": {}}
        if self._path.exists():
            self.content = json.loads(self._path.read_text("utf-8"))

    def save(self) -> None:
        write_json(self._path, self.content)

    def topic(self, name: str) -> dict[str, Any]:
        """`done`: offsets already in the files, `target`: where the present export ends; both by partition."""
        found: dict[str, Any] = self.content["topics"].setdefault(name, {"done": {}, "target": None})
        return found

    def view(self, name: str) -> list[str]:
        """Days that the present export has written already."""
        found: list[str] = self.content["views"].setdefault(name, [])
        return found

    def view_done(self, name: str) -> None:
        self.content["views"].pop(name, None)
        self.save()
