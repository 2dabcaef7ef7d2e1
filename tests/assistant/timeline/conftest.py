"""Where timelines are kept in these tests: a folder, and a throw-away PostgreSQL cluster."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

UNPRIVILEGED = 65534  # nobody; PostgreSQL refuses to run as root
_runs = count()


def _postgresql_bin() -> Path | None:
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin")) + sorted(Path("/usr/pgsql").glob("*/bin"))
    return Path(found).parent if found else next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Address of an empty database in a cluster of this session's own, reached by a socket only."""
    binaries = _postgresql_bin()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed here (apt-get install postgresql), so only SQLite was tested")
    folder = Path(tempfile.mkdtemp(prefix="serval-pg-"))
    as_user = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []} if os.geteuid() == 0 else {}
    if as_user:
        os.chown(folder, UNPRIVILEGED, UNPRIVILEGED)
    data = folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, **as_user}
    initdb = [binaries / "initdb", "-D", data, "-U", "serval", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
    server = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    try:
        subprocess.run(initdb, **quiet)
        subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", server, "start"], **quiet)
        yield f"postgresql://serval@/postgres?host={folder}"
    finally:
        if (data / "postmaster.pid").exists():
            subprocess.run([binaries / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop"], **quiet)
        shutil.rmtree(folder)


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
