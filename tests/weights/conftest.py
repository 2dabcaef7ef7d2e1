"""A pretend package index: archives made by hand, a manifest that pins them, and a cache in a temporary folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from serval.weights import install, manifest
from serval.weights.manifest import Part, PartFile


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(package: str, members: dict[str, bytes], version: str = "1.0") -> bytes:
    """A wheel that pip takes, with no more in it than it must have."""
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    about = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for member, data in {**members, **about}.items():
            file.writestr(zipfile.ZipInfo(member), data)
    return content.getvalue()


def tarball(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return content.getvalue()


def debian(data: bytes) -> bytes:
    """A Debian package around a tarball of its files."""
    out = b"!<arch>\n"
    for name, content in {
        "debian-binary": b"2.0\n",
        "control.tar.gz": gzip.compress(b"\0" * 1024),
        "data.tar.gz": data,
    }.items():
        out += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        )
    return out


class Index:
    """Packages for pip in a folder, and the manifest that names them."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.manifest = folder / "manifest.toml"
        self.parts: list[Part] = []
        self.downloads: list[str] = []

    def add(self, name: str, content: dict[str, bytes], **fields: object) -> Part:
        """A part whose package is in the index, whole and as pinned, unless ``fields`` say otherwise."""
        archive = wheel(f"{name}-package", {f"data/{file}": data for file, data in content.items()})
        (self.wheels / f"{name.replace('-', '_')}_package-1.0-py3-none-any.whl").write_bytes(archive)
        pinned = tuple(
            PartFile(name=file, member=f"data/{file}", bytes=len(data), sha256=sha256(data)) for file, data in content.items()
        )
        values = {
            "name": name,
            "package": f"{name}-package",
            "version": "1.0",
            "client": "pip",
            "licence": "MIT",
            "about": "a part",
            "ability": f"what {name} does",
            "default": True,
            "archive_bytes": len(archive),
            "archive_sha256": sha256(archive),
            "files": pinned,
            **fields,
        }
        part = Part.model_validate(values)
        self.parts = [each for each in self.parts if each.name != name] + [part]
        self.write()
        return part

    def download(self, part: Part, folder: Path, progress: Callable[[int], None]) -> Path:
        """What pip does, without the second that pip takes."""
        self.downloads.append(part.name)
        (path,) = self.wheels.glob(f"{part.name.replace('-', '_')}_package-*.whl")
        folder.mkdir(parents=True, exist_ok=True)
        progress(path.stat().st_size // 2)
        return Path(shutil.copy(path, folder))

    def write(self) -> None:
        """JSON's strings, numbers and lists are TOML's too."""
        lines = []
        for part in self.parts:
            values = part.model_dump()
            files = values.pop("files")
            lines += ["[[part]]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
            for each in files:
                lines += ["[[part.files]]", *(f"{key} = {json.dumps(value)}" for key, value in each.items())]
        self.manifest.write_text("\n".join(lines), "utf-8")
        manifest._read.cache_clear()

    def process(self, program: str) -> subprocess.Popen[str]:
        """Start a program with this manifest."""
        setup = (
            f"from pathlib import Path; from serval.weights import manifest; manifest.MANIFEST = Path({str(self.manifest)!r})"
        )
        return subprocess.Popen([sys.executable, "-c", f"{setup}\n{program}"], stdout=subprocess.PIPE, text=True)

    def unplug(self) -> None:
        """From now on there is nothing to download."""
        for path in self.wheels.iterdir():
            path.unlink()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    made = Index(tmp_path)
    monkeypatch.setattr(manifest, "MANIFEST", made.manifest)
    monkeypatch.setenv("SERVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.wheels))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return made


@pytest.fixture
def at_hand(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not about pip."""
    monkeypatch.setattr(install, "download", index.download)
