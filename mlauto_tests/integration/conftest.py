"""Real git repositories, small and quick to make."""

import os
import subprocess
from pathlib import Path

import pytest

from mlauto.integration.git import Mirror

AUTHOR = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


class Origin:
    """A team's repository: `commit` files, move branches about, see SHAs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, data: bytes | None = None) -> str:
        command = ["git", "-C", str(self.path), *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False, env={**os.environ, **AUTHOR})
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def write(self, name: str, content: str) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def commit(self, subject: str = "change", **files: str) -> str:
        """Commit files (`a__b_py="..."` is written as a/b.py) and return the SHA."""
        for name, content in files.items():
            self.write(name.replace("__", "/").replace("_py", ".py").replace("_md", ".md"), content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def many(self, count: int) -> list[str]:
        """`count` further commits on main in one go, oldest first."""
        parent = f"from {self.git('rev-parse', 'HEAD')}\n"
        stream = [
            f"commit refs/heads/main\ncommitter Ada <ada@example.org> {1_800_000_000 + number} +0000\n"
            f"data 4\nmany\n{'' if number else parent}M 644 inline n.txt\ndata 8\n{number:08d}\n"
            for number in range(count)
        ]
        self.git("fast-import", "--quiet", data="".join(stream).encode())
        self.git("reset", "-q", "--hard")
        return self.git("rev-list", "--reverse", f"--max-count={count}", "HEAD").split()


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    """An empty repository on branch main."""
    return Origin(tmp_path / "origin")


@pytest.fixture
def mirror(tmp_path: Path, origin: Origin) -> Mirror:
    """The mirror of `origin`, not yet fetched."""
    return Mirror(tmp_path / "home" / "mirror.git", str(origin.path), "main")
