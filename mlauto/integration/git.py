"""A product's model repository, read through a bare mirror of one branch in the state directory.

Branch order is first-parent order: what was on the branch, newest first. The commits of a merged side branch are not
in it; their merge is, with everything they brought.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlauto.errors import SourceError
from mlauto.integration.export import export_tree
from mlauto.integration.lock import locked
from mlauto.integration.plumbing import GitResult, masked, require_git, run_git
from mlauto.integration.trees import TreeReader
from mlauto.product import ModelProduct
from mlauto.records import Commit
from mlauto.settings import Settings

__all__ = ["Mirror", "mirror_of", "repository_address"]

SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
FIELDS = "%H%x00%T%x00%an%x00%ct%x00%s"
DENIED = r"authentication|permission denied|could not read (username|password)|terminal prompts|\b40[13]\b|publickey"
ADVICE = {
    DENIED: "give this machine access (an ssh key or a git credential helper)",
    r"could not resolve|unable to access|timed out|connection|network|did not end": "check the network and the address",
    r"dubious ownership": "allow it with `git config --global --add safe.directory` and the path",
}


def repository_address(repository: str, root: Path) -> str:
    """What git is given for `repository` of a product's YAML: a URL as it is, a path made absolute against `root`."""
    if "://" in repository or re.match(r"[\w.@-]+:", repository):
        return repository
    return str((root / Path(repository).expanduser()).resolve())


def mirror_of(product: ModelProduct, settings: Settings) -> "Mirror":
    """The mirror of a product's model repository. Touches nothing."""
    return Mirror(
        settings.product_home(product.name) / "mirror.git",
        repository_address(product.code.repository, settings.root),
        product.code.branch,
    )


@dataclass(frozen=True)
class Mirror:
    """A bare mirror at `path` of one `branch` of `repository`; `timeout` is in seconds, for each network command.

    `tip` and `fetch` speak to the repository; everything else reads the mirror only. Raises `SourceError` at once for a
    branch name or an address that git could take for an option.
    """

    path: Path
    repository: str
    branch: str = "main"
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"(?![-/.])(?!.*(\.\.|//|@\{))[^\x00-\x20~^:?*\[\\\x7f]+(?<![/.])", self.branch):
            raise SourceError(f"{self.branch!r} is no name of a git branch: correct code.branch")
        if self.repository.startswith("-") or not self.repository.strip() or re.search(r"[\x00-\x1f]", self.repository):
            raise SourceError(f"{masked(self.repository)!r} is no git address: correct code.repository")

    @property
    def ref(self) -> str:
        """The branch's full name."""
        return f"refs/heads/{self.branch}"

    def tip(self) -> str | None:
        """The branch's newest SHA in the repository itself; None where branch or any commit does not exist.

        Raises `SourceError` naming the repository and the next step when it cannot be reached.
        """
        result = run_git(["ls-remote", "--quiet", "--", self.repository, self.ref], timeout=self.timeout, network=True)
        if result.code != 0:
            raise self._unreachable(result.error)
        lines = (line.split("\t") for line in result.output.decode(errors="replace").splitlines())
        return next((parts[0] for parts in lines if parts[1:] == [self.ref] and SHA.fullmatch(parts[0])), None)

    def fetch(self) -> None:
        """Make the mirror's branch what the repository's is now: forced pushes, deletion and emptiness included.

        Processes that fetch at once take turns. Objects stay after a forced push, so an older commit can still be
        exported for weeks. Raises `SourceError` like `tip`.
        """
        with locked(self.path.with_suffix(".lock"), timeout=2 * self.timeout) as lock:
            if not self.path.exists():
                self._create()
            self._clear_stale_locks()
            options = ["--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force"]
            refspec = f"+{self.ref}:{self.ref}"
            command = ["--git-dir", str(self.path), "fetch", *options, "--", self.repository, refspec]
            # The child holds the lock as well: should we be killed, the next process waits until git is done.
            result = run_git(command, timeout=self.timeout, network=True, keep_open=[lock])
            if result.code == 0:
                return
            if self.tip() is not None:  # which raises by itself when the repository is not reachable
                raise self._unreachable(result.error)
            if self.head() is not None:
                require_git(["--git-dir", str(self.path), "update-ref", "-d", self.ref], timeout=self.timeout)

    def head(self) -> str | None:
        """The branch's newest SHA as of the last `fetch`; None without one."""
        if not self.path.exists():
            return None
        result = self._git("rev-parse", "--verify", "--quiet", f"{self.ref}^{{commit}}")
        return result.output.decode().strip() or None

    def contains(self, sha: str) -> bool:
        """Whether the mirror holds that commit, on the branch or not."""
        if not SHA.fullmatch(sha) or not self.path.exists():
            return False
        return self._git("cat-file", "-e", f"{sha}^{{commit}}").code == 0

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or in its history; False where the mirror does not hold one of them."""
        known = self.contains(older) and self.contains(newer)
        return known and self._git("merge-base", "--is-ancestor", older, newer).code == 0

    def related(self, one: str, other: str) -> bool:
        """Whether two commits have any history in common; False where the mirror does not hold one of them."""
        return self.contains(one) and self.contains(other) and self._git("merge-base", one, other).code == 0

    def shas(self, tip: str, *, after: str | None = None, limit: int = 1000) -> tuple[str, ...]:
        """The newest `limit` SHAs of `tip`'s branch order, without `after` and its history when the mirror holds it."""
        bounds = [f"^{after}"] if after is not None and self.contains(after) else []
        options = ["--first-parent", f"--max-count={limit}"]
        output = self._require("rev-list", *options, *bounds, self._known(tip), "--")
        return tuple(output.decode().split())

    def commits(self, tip: str, *, after: str | None = None, limit: int = 1000) -> tuple[Commit, ...]:
        """The same as `shas`, as records."""
        return self.describe(self.shas(tip, after=after, limit=limit))

    def commit(self, sha: str) -> Commit:
        """The record of one commit. Raises `SourceError` if the mirror does not hold it."""
        return self.describe([sha])[0]

    def describe(self, shas: Sequence[str]) -> tuple[Commit, ...]:
        """The records of commits, in the order given, by two processes however many they are."""
        if not shas:
            return ()
        if len(shas) == 1:
            self._known(shas[0])
        command = ["log", "-z", "--no-walk=unsorted", "--no-color", "--no-notes", f"--format={FIELDS}", "--stdin"]
        output = self._require(*command, data="\n".join(shas).encode())
        fields = output.decode(errors="replace").removesuffix("\0").split("\0")
        with TreeReader(self.path) as reader:
            return tuple(
                Commit(sha=sha, tree=reader.digest(tree), subject=subject[:300], author=author[:200], time=float(time))
                for sha, tree, author, time, subject in zip(*(fields[i::5] for i in range(5)), strict=True)
            )

    def export(self, sha: str, target: Path) -> None:
        """Write the tree of a commit, and nothing else, as the new directory `target`, at once or not at all.

        Name `target` after the commit: a directory that is there already is taken for this export, made by another
        process. Raises `RefusedTreeError` when the tree holds what must not be unpacked (a link that leaves it, more
        than 2 GiB), another `SourceError` when the commit is unknown or the disk refuses.
        """
        self._known(sha)
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            export_tree(self.path, sha, temporary)
            temporary.chmod(0o755)
            os.rename(temporary, target)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST} and target.is_dir():
                return
            raise SourceError(f"commit {sha[:12]} could not be written to {target}: {error}") from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _create(self) -> None:
        temporary = Path(tempfile.mkdtemp(dir=self.path.parent, prefix=f".{self.path.name}."))
        try:
            require_git(["init", "--quiet", "--bare", "--template=", "--", str(temporary)], timeout=self.timeout)
            # What a team excludes from its releases (tests, often) is nevertheless part of the tree that we test.
            (temporary / "info").mkdir()
            (temporary / "info" / "attributes").write_text("* -export-ignore -export-subst\n")
            require_git(["--git-dir", str(temporary), "config", "gc.pruneExpire", "90.days"], timeout=self.timeout)
            os.rename(temporary, self.path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _clear_stale_locks(self) -> None:
        # A git that was killed leaves its lock files; we hold the only lock that counts.
        for name in (f"{self.ref}.lock", "packed-refs.lock", "HEAD.lock", "config.lock", "gc.pid"):
            (self.path / name).unlink(missing_ok=True)

    def _git(self, *arguments: str) -> GitResult:
        return run_git(["--git-dir", str(self.path), *arguments], timeout=self.timeout)

    def _require(self, *arguments: str, data: bytes | None = None) -> bytes:
        return require_git(["--git-dir", str(self.path), *arguments], timeout=self.timeout, data=data)

    def _known(self, sha: str) -> str:
        if not self.contains(sha):
            raise SourceError(
                f"commit {sha[:12]} is not in the mirror of {masked(self.repository)}: it was never fetched, or pruned"
            )
        return sha

    def _unreachable(self, problem: str) -> SourceError:
        advice = next((text for pattern, text in ADVICE.items() if re.search(pattern, problem, re.IGNORECASE)), None)
        step = advice or "check code.repository and code.branch in the product's YAML"
        return SourceError(f"git repository {masked(self.repository)} cannot be read: {step} ({masked(problem)})")
