"""Files of any size that a test writes on a test host."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Mapping


def carry(container: str, files: Mapping[str, bytes], *, mode: int = 0o600) -> None:
    """Write files of root's in a container: absolute path -> content. Directories are made."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path.removeprefix("/"))
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    command = ["docker", "exec", "-i", container, "tar", "-C", "/", "-x"]
    subprocess.run(command, check=True, capture_output=True, input=archive.getvalue())
