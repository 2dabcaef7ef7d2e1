"""Where timelines are kept in these tests: a folder, and a throw-away PostgreSQL cluster."""

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

_runs = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A place for an empty timeline, in each kind of database."""
    if request.param == "sqlite":
        return tmp_path / "run"
    return f"{request.getfixturevalue('postgresql')}&run=run_{next(_runs)}"


@pytest.fixture
def world_readable() -> Iterator[Path]:
    """A folder that another user can reach into."""
    folder = Path(tempfile.mkdtemp(prefix="serval-"))
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)
