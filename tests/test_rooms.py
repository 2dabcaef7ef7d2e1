"""The order of the rooms: a room imports only rooms before it in the flow of data, and nothing imports the command line."""

import ast
from pathlib import Path

import serval

ROOMS = (
    "weights media sources conversation encoders connectors language adapters heads fusion "
    "assistant training data evaluation analysis systems arena serving cli"
).split()
ROOT = Path(serval.__file__).parent


def imports(path: Path) -> set[str]:
    """Rooms named by absolute or relative imports of one file, wherever in the file they stand."""
    package = ("serval", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            names = [module] + [f"{module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("serval.")}
    return found


def test_every_folder_is_a_known_room():
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms <= set(ROOMS)


def test_rooms_import_only_rooms_before_them():
    wrong = []
    for path in sorted(ROOT.glob("*/**/*.py")):
        room = path.relative_to(ROOT).parts[0]
        for other in imports(path) & set(ROOMS):
            if ROOMS.index(other) > ROOMS.index(room):
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert not wrong


def test_only_the_entry_point_imports_the_command_line():
    assert [path.name for path in ROOT.glob("*.py") if "cli" in imports(path)] in ([], ["__main__.py"])
