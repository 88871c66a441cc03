"""The mirror against real repositories."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlauto.errors import SourceError
from mlauto.integration.git import Mirror, mirror_of, repository_address
from mlauto.product import ModelProduct
from mlauto.settings import Settings


def test_tip_and_head_follow_a_commit(origin: Any, mirror: Mirror) -> None:
    """`tip` asks the repository, `head` the mirror as of the last fetch."""
    first = origin.commit("one", a_py="1")

    assert (mirror.tip(), mirror.head()) == (first, None)
    mirror.fetch()
    second = origin.commit("two", a_py="2")
    assert (mirror.tip(), mirror.head()) == (second, first)
    mirror.fetch()
    assert mirror.head() == second


def test_empty_repository_is_no_error(mirror: Mirror) -> None:
    """A repository without a commit has no tip, and fetching it leaves an empty mirror."""
    mirror.fetch()

    assert mirror.tip() is None
    assert mirror.head() is None
    assert not mirror.contains("0" * 40)


def test_branch_of_the_same_tail_is_not_taken_for_ours(origin: Any, tmp_path: Path) -> None:
    """`ls-remote` matches tails of names; only the exact branch counts."""
    origin.commit("one", a_py="1")
    origin.git("update-ref", "refs/heads/x/refs/heads/release", "HEAD")

    assert Mirror(tmp_path / "m.git", str(origin.path), "release").tip() is None


def test_forced_push_moves_the_mirror_and_keeps_old_objects(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """After a forced push the branch is what it is there, and the former commit can still be exported."""
    origin.commit("one", a_py="1")
    dropped = origin.commit("two", a_py="2")
    mirror.fetch()
    origin.git("reset", "-q", "--hard", "HEAD~1")
    rewritten = origin.commit("two again", a_py="3")
    mirror.fetch()

    assert mirror.head() == rewritten
    assert mirror.contains(dropped)
    assert not mirror.is_ancestor(dropped, rewritten)
    assert mirror.related(dropped, rewritten)
    mirror.export(dropped, tmp_path / "old")
    assert (tmp_path / "old" / "a.py").read_text() == "2"


def test_deleted_branch_disappears_and_may_come_back(origin: Any, mirror: Mirror) -> None:
    """A branch that is deleted in the repository has no head here either, until it exists again."""
    sha = origin.commit("one", a_py="1")
    mirror.fetch()
    origin.git("checkout", "-q", "-b", "other")
    origin.git("branch", "-q", "-D", "main")
    mirror.fetch()
    assert (mirror.tip(), mirror.head()) == (None, None)

    origin.git("branch", "main", sha)
    mirror.fetch()
    assert mirror.head() == sha


def test_branch_replaced_by_a_folder_of_branches(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """Two products may track `main` and `main/x` one after the other: each mirror holds its own branch only."""
    origin.commit("one", a_py="1")
    mirror.fetch()
    origin.git("branch", "-m", "main", "main2")
    origin.git("branch", "main/x")

    mirror.fetch()
    assert mirror.head() is None
    other = Mirror(tmp_path / "other.git", str(origin.path), "main/x")
    other.fetch()
    assert other.head() == other.tip() is not None


def test_commits_come_newest_first_with_bounds(origin: Any, mirror: Mirror) -> None:
    """`after` and its history are left out, `limit` keeps the newest, records carry what git says."""
    one, two, three = (origin.commit(f"number {n}", a_py=str(n)) for n in (1, 2, 3))
    mirror.fetch()

    assert [c.sha for c in mirror.commits(three)] == [three, two, one]
    assert [c.subject for c in mirror.commits(three, after=one)] == ["number 3", "number 2"]
    assert mirror.shas(three, limit=1) == (three,)
    assert mirror.shas(three, after="f" * 40) == (three, two, one)
    assert mirror.shas(one, after=three) == ()
    commit = mirror.commit(two)
    assert (commit.sha, commit.author) == (two, "Ada")
    assert commit.time > 1_500_000_000
    assert [c.sha for c in mirror.describe([one, three, two])] == [one, three, two]
    assert mirror.describe([]) == ()


def test_merged_side_branch_counts_as_its_merge(origin: Any, mirror: Mirror) -> None:
    """Branch order is first-parent order: the commits of a merged branch are not in it."""
    base = origin.commit("base", a_py="1")
    origin.git("checkout", "-q", "-b", "side")
    side = origin.commit("side", b_py="1")
    origin.git("checkout", "-q", "main")
    main = origin.commit("main", a_py="2")
    origin.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = origin.git("rev-parse", "HEAD")
    mirror.fetch()

    assert mirror.shas(merge) == (merge, main, base)
    assert mirror.contains(side)


def test_odd_commit_messages_survive(origin: Any, mirror: Mirror) -> None:
    """Messages that are empty, multi-line, long, not UTF-8 or full of control characters stay one record each."""
    origin.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    origin.git("commit", "-q", "--allow-empty", "-m", "x" * 1000)
    origin.git("commit", "-q", "--allow-empty", "-F", "-", data=b"caf\xe9 \x1b[31m\n\nbody")
    mirror.fetch()

    subjects = [c.subject for c in mirror.commits(str(mirror.head()))]

    assert len(subjects) == 3
    assert subjects[0].startswith("caf")
    assert (len(subjects[1]), subjects[2]) == (300, "")


def test_readme_does_not_change_the_tree_but_code_does(origin: Any, mirror: Mirror) -> None:
    """Documentation has no part in the digest that decides on retraining."""
    plain = origin.commit("one", a_py="1", deep__code_py="2")
    for name in ("README.md", "docs/index.html", ".github/ci.yml", "LICENSE", ".gitignore", "deep/notes.rst"):
        origin.write(name, "text")
    documented = origin.commit("documented")
    changed = origin.commit("code", deep__code_py="3")
    reverted = origin.commit("back", deep__code_py="2")
    mirror.fetch()

    trees = {c.sha: c.tree for c in mirror.commits(reverted)}

    assert trees[plain] == trees[documented] == trees[reverted]
    assert trees[changed] != trees[plain]
    assert len(trees[plain]) == 64


def test_thousand_commits_are_described_quickly(origin: Any, mirror: Mirror) -> None:
    """A thousand commits at once take two processes, not two thousand."""
    origin.commit("base", a_py="1")
    shas = origin.many(1000)
    mirror.fetch()

    commits = mirror.commits(shas[-1])

    assert [c.sha for c in commits] == list(reversed(shas))
    assert len({c.tree for c in commits}) == 1000


def test_export_is_the_whole_tree_and_nothing_else(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """No .git, executable bits and links kept, and `export-ignore` does not hide the tests."""
    origin.write(".gitattributes", "tests export-ignore\nversion.py export-subst\n")
    origin.write("run.sh", "#!/bin/sh\n")
    (origin.path / "run.sh").chmod(0o755)
    (origin.path / "link.py").symlink_to("version.py")
    sha = origin.commit("one", tests__test_a_py="def test_a(): pass\n", version_py="'$Format:%H$'\n")
    mirror.fetch()

    mirror.export(sha, tmp_path / "out")

    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*")}
    assert names == {".gitattributes", "run.sh", "link.py", "tests", "tests/test_a.py", "version.py"}
    assert (tmp_path / "out" / "version.py").read_text() == "'$Format:%H$'\n"
    assert (tmp_path / "out" / "link.py").is_symlink()
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "origin", "out"]


def test_export_refuses_links_that_leave_the_tree(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """A link to the machine's files is named, and nothing is left behind."""
    (origin.path / "secrets").symlink_to("/etc/passwd")
    sha = origin.commit("link")
    mirror.fetch()

    with pytest.raises(SourceError, match=r"link 'secrets' points outside"):
        mirror.export(sha, tmp_path / "exports" / "x")
    assert list((tmp_path / "exports").iterdir()) == []


def test_export_never_overwrites(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """A directory that is there is an earlier export and stays; a file in its place is an error."""
    sha = origin.commit("one", a_py="1")
    mirror.fetch()
    mirror.export(sha, tmp_path / "tree")
    before = (tmp_path / "tree" / "a.py").stat().st_mtime_ns

    mirror.export(sha, tmp_path / "tree")
    assert (tmp_path / "tree" / "a.py").stat().st_mtime_ns == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SourceError, match="could not be written"):
        mirror.export(sha, tmp_path / "file")
    with pytest.raises(SourceError, match="not in the mirror"):
        mirror.export("--output=evil", tmp_path / "evil")
    assert (tmp_path / "file").read_text() == "mine"


def test_threads_that_export_at_once_all_succeed(origin: Any, mirror: Mirror, tmp_path: Path) -> None:
    """One export wins, the others find it whole, and nothing temporary stays."""
    for number in range(30):
        origin.write(f"f{number}.py", str(number))
    sha = origin.commit("many files")
    mirror.fetch()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(mirror.export, sha, tmp_path / "exports" / sha) for _ in range(12)]:
            done.result()

    assert [p.name for p in (tmp_path / "exports").iterdir()] == [sha]
    assert len(list((tmp_path / "exports" / sha).iterdir())) == 30


@pytest.mark.parametrize("branch", ["--upload-pack=touch x", "a:b", "", "a..b", "a b", "/a", "a.lock/../b", "x\n"])
def test_branch_names_that_git_could_misread_are_refused(branch: str, tmp_path: Path) -> None:
    """A branch is checked before git sees it."""
    with pytest.raises(SourceError, match="no name of a git branch"):
        Mirror(tmp_path / "m.git", "/nowhere", branch)


@pytest.mark.parametrize("repository", ["--upload-pack=touch x", "", "a\nb"])
def test_addresses_that_git_could_misread_are_refused(repository: str, tmp_path: Path) -> None:
    """An address is checked before git sees it."""
    with pytest.raises(SourceError, match="no git address"):
        Mirror(tmp_path / "m.git", repository, "main")


def test_external_transport_does_not_run_commands(tmp_path: Path) -> None:
    """Git's `ext::` transport would run any command; it is off."""
    mirror = Mirror(tmp_path / "m.git", f"ext::sh -c touch% {tmp_path}/evil", "main")

    with pytest.raises(SourceError, match="cannot be read"):
        mirror.tip()
    assert not (tmp_path / "evil").exists()


def test_unreachable_repository_is_named_without_its_password(tmp_path: Path) -> None:
    """The error names the repository and the next step, and shows no credential."""
    missing = Mirror(tmp_path / "m.git", str(tmp_path / "nowhere"), "main")
    secret = Mirror(tmp_path / "m.git", "https://ada:s3cret@127.0.0.1:1/x.git", "main")

    with pytest.raises(SourceError, match=r"nowhere cannot be read: check code\.repository"):
        missing.tip()
    with pytest.raises(SourceError, match="nowhere"):
        missing.fetch()
    with pytest.raises(
        SourceError, match=r"https://\*\*\*@127\.0\.0\.1:1/x\.git cannot be read: check the net"
    ) as caught:
        secret.tip()
    assert "s3cret" not in str(caught.value)


def test_a_repository_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    """The time limit holds for the helpers that git starts as well."""
    wrapper = tmp_path / "ssh"
    wrapper.write_text("#!/bin/sh\nsleep 60\n")
    wrapper.chmod(0o755)
    mirror = Mirror(tmp_path / "m.git", "git@example.invalid:x.git", "main", timeout=0.5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_SSH_COMMAND", str(wrapper))
        with pytest.raises(SourceError, match=r"x\.git cannot be read: check the network.*did not end within 0.5 s"):
            mirror.tip()


def test_surrounding_git_does_not_leak_in(origin: Any, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that a git hook sets for its own repository do not redirect ours."""
    sha = origin.commit("one", a_py="1")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")

    mirror.fetch()

    assert mirror.head() == sha


def test_killed_fetch_does_not_block_the_next(origin: Any, mirror: Mirror) -> None:
    """Lock files that a killed git left behind are cleared under our own lock."""
    origin.commit("one", a_py="1")
    mirror.fetch()
    (mirror.path / "refs" / "heads" / "main.lock").touch()
    sha = origin.commit("two", a_py="2")

    mirror.fetch()

    assert mirror.head() == sha


def test_processes_that_fetch_at_once_all_succeed(origin: Any, mirror: Mirror) -> None:
    """Four processes make and fetch the same mirror together, twice, and none fails."""
    code = (
        "import sys; from pathlib import Path; from mlauto.integration.git import Mirror\n"
        "m = Mirror(Path(sys.argv[1]), sys.argv[2], 'main'); m.fetch(); print(m.head())"
    )
    for number in (1, 2):
        sha = origin.commit(f"commit {number}", a_py=str(number))
        command = [sys.executable, "-c", code, str(mirror.path), mirror.repository]
        started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
        ended = [process.communicate(timeout=60) for process in started]
        assert [out.decode().strip() for out, _ in ended] == [sha] * 4, ended

    assert sorted(p.name for p in mirror.path.parent.iterdir()) == ["mirror.git", "mirror.lock"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://example.org/x.git", "https://example.org/x.git"),
        ("git@example.org:team/x.git", "git@example.org:team/x.git"),
        ("models/bike", "/root/models/bike"),
        ("/srv/x.git", "/srv/x.git"),
    ],
)
def test_repository_address(given: str, expected: str) -> None:
    """URLs stay; paths are relative to the root."""
    assert repository_address(given, Path("/root")) == expected


def test_mirror_of_a_product(settings: Settings) -> None:
    """A product's mirror lies in its own folder and follows its branch."""
    product = ModelProduct.model_validate(
        {
            "name": "bike",
            "code": {"repository": "models/bike", "branch": "dev", "estimator": "bike.model:build"},
            "data": {"landing": "landing/bike", "target": "y", "task": "regression"},
        }
    )

    mirror = mirror_of(product, settings)

    assert mirror.path == settings.home / "products" / "bike" / "mirror.git"
    assert (mirror.repository, mirror.branch) == (str(settings.root / "models" / "bike"), "dev")
