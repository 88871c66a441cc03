"""Following a branch through pushes, floods, rewinds and deletions."""

from typing import Any

import msgspec

from mlauto.integration.git import Mirror
from mlauto.integration.tracking import Cursor, Plan, has_report, plan, read_report, track, verify, write_report
from mlauto.records import CheckResult, CiReport, VerifiedCommit
from mlauto.store import Store


class Follower:
    """A product's commit sensor in small: keeps the cursor, tests what the plan says."""

    def __init__(self, mirror: Mirror, store: Store) -> None:
        self.mirror, self.store = mirror, store
        self.cursor = Cursor()
        self.tested: list[str] = []
        self.red: set[str] = set()

    def look(self, limit: int = 20) -> Plan:
        made = track(self.mirror, self.cursor, lambda sha: has_report(self.store, "bike", sha), limit=limit)
        # a sensor's cursor is text between two ticks
        self.cursor = msgspec.json.decode(msgspec.json.encode(made.cursor), type=Cursor)
        return made

    def test(self, *shas: str) -> None:
        for commit in self.mirror.describe(shas):
            self.tested.append(commit.sha)
            passed = commit.sha not in self.red
            result = CheckResult(kind="tests", command="pytest", passed=passed, seconds=0.0, output="")
            write_report(self.store, "bike", CiReport(commit=commit, results=(result,)))

    def settle(self, limit: int = 20) -> list[str]:
        """Look and test until nothing is left; the SHAs tested meanwhile."""
        before = len(self.tested)
        while (made := self.look(limit)).test:
            self.test(*made.test)
        return self.tested[before:]

    def verified(self) -> str | None:
        found = verify(self.store, "bike", self.mirror)
        return found.commit.sha if found else None


def test_first_sight_tests_the_tip_only(origin: Any, mirror: Mirror, store: Store) -> None:
    """Of a repository with a past, the tip is the baseline; later every new commit is tested once."""
    origin.commit("base")
    old = origin.many(30)
    follower = Follower(mirror, store)

    assert follower.settle() == [old[-1]]
    new = [origin.commit(f"new {n}", a_py=str(n)) for n in range(3)]
    assert follower.settle() == list(reversed(new))
    assert follower.settle() == []
    assert follower.cursor == Cursor(tip=new[-1], base=new[-1])


def test_commit_at_rest_costs_no_plan(origin: Any, mirror: Mirror, store: Store) -> None:
    """Nothing new: nothing to test, nothing moved."""
    origin.commit("one")
    follower = Follower(mirror, store)
    assert follower.look().moved
    follower.settle()

    assert follower.look() == Plan(test=(), cursor=follower.cursor, moved=False)


def test_lost_run_is_asked_for_again(origin: Any, mirror: Mirror, store: Store) -> None:
    """A commit is done when its report exists, not when it was asked for, also when newer ones came meanwhile."""
    first = origin.commit("one")
    follower = Follower(mirror, store)
    assert follower.look().test == (first,)
    assert follower.look().test == (first,)
    second = origin.commit("two")
    assert follower.look().test == (second, first)

    follower.test(second)

    assert follower.look().test == (first,)
    follower.test(first)
    assert follower.look().test == ()


def test_thousand_commits_are_tested_once_each(origin: Any, mirror: Mirror, store: Store) -> None:
    """A flood is taken in bounded steps, newest first, and none is lost, with newer pushes in between."""
    origin.commit("base")
    follower = Follower(mirror, store)
    follower.settle()
    flood = origin.many(1000)

    made = follower.look(limit=100)
    assert made.test == tuple(reversed(flood[-100:]))
    assert made.waiting == 900
    follower.test(*made.test)
    late = origin.commit("late")
    rest = follower.settle(limit=300)

    assert rest[0] == late
    assert sorted(follower.tested[1:]) == sorted([*flood, late])
    assert follower.look(limit=100).cursor.base == late


def test_forced_push_tests_what_is_new_on_the_branch(origin: Any, mirror: Mirror, store: Store) -> None:
    """Rewritten commits are new ones; those below them were tested already."""
    kept = origin.commit("kept", a_py="0")
    follower = Follower(mirror, store)
    follower.settle()
    dropped = origin.commit("dropped", a_py="1")
    follower.settle()
    origin.git("reset", "-q", "--hard", kept)
    rewritten = [origin.commit(f"rewritten {n}", a_py=f"r{n}") for n in range(2)]

    made = follower.look()

    assert made.moved
    assert made.test == tuple(reversed(rewritten))
    follower.red.add(rewritten[1])
    follower.settle()
    assert follower.verified() == rewritten[0]
    assert dropped not in mirror.shas(rewritten[1])


def test_rewind_takes_the_verified_commit_back(origin: Any, mirror: Mirror, store: Store) -> None:
    """After a rewind to a tested commit nothing is tested again, and the verified commit follows the branch."""
    one = origin.commit("one", a_py="1")
    follower = Follower(mirror, store)
    follower.settle()
    two = origin.commit("two", a_py="2")
    follower.settle()
    assert follower.verified() == two

    origin.git("reset", "-q", "--hard", one)
    made = follower.look()

    assert (made.test, made.moved) == ((), True)
    assert follower.verified() == one
    origin.git("reset", "-q", "--hard", two)
    assert follower.settle() == []
    assert follower.verified() == two


def test_rewind_below_the_baseline_is_tested(origin: Any, mirror: Mirror, store: Store) -> None:
    """A commit older than the first sight was never tested; once it is the tip, it is."""
    one = origin.commit("one", a_py="1")
    two = origin.commit("two", a_py="2")
    follower = Follower(mirror, store)
    assert follower.settle() == [two]

    origin.git("reset", "-q", "--hard", one)

    assert follower.settle() == [one]
    assert follower.verified() == one
    three = origin.commit("three", a_py="3")
    assert follower.settle() == [three]


def test_unrelated_history_is_a_first_sight(origin: Any, mirror: Mirror, store: Store) -> None:
    """A branch that was replaced altogether is not tested from its beginning."""
    origin.commit("one")
    follower = Follower(mirror, store)
    follower.settle()
    origin.git("checkout", "-q", "--orphan", "fresh")
    for number in range(5):
        tip = origin.commit(f"fresh {number}")
    origin.git("branch", "-f", "main", "fresh")

    assert follower.settle() == [tip]


def test_deleted_branch_changes_nothing_until_it_is_back(origin: Any, mirror: Mirror, store: Store) -> None:
    """Deletion asks for nothing and keeps what was verified; a branch that comes back goes on from there."""
    one = origin.commit("one")
    follower = Follower(mirror, store)
    follower.settle()
    follower.verified()
    origin.git("checkout", "-q", "-b", "aside")
    origin.git("branch", "-D", "main")

    made = follower.look()

    assert (made.test, made.moved) == ((), False)
    mirror.fetch()
    assert follower.verified() == one
    origin.git("checkout", "-q", "-b", "main")
    two = origin.commit("two")
    assert follower.settle() == [two]
    assert follower.verified() == two


def test_empty_repository_waits_for_its_first_commit(origin: Any, mirror: Mirror, store: Store) -> None:
    """No commit, no plan; the first one is tested."""
    follower = Follower(mirror, store)
    assert follower.look() == Plan(test=(), cursor=Cursor())
    assert follower.verified() is None

    first = origin.commit("first")

    assert follower.settle() == [first]


def test_lost_mirror_is_made_again(origin: Any, mirror: Mirror, store: Store) -> None:
    """A mirror that somebody deleted is fetched at the next look, and nothing is tested twice."""
    import shutil

    sha = origin.commit("one")
    follower = Follower(mirror, store)
    follower.settle()
    shutil.rmtree(mirror.path)

    assert follower.look().test == ()
    assert mirror.head() == sha


def test_red_tip_leaves_the_last_good_commit(origin: Any, mirror: Mirror, store: Store) -> None:
    """Red commits go no further; without any green commit there is none verified."""
    follower = Follower(mirror, store)
    bad = origin.commit("bad", a_py="0")
    follower.red.add(bad)
    follower.settle()
    assert follower.verified() is None

    good = origin.commit("good", a_py="1")
    worse = origin.commit("worse", a_py="2")
    follower.red.add(worse)
    follower.settle()

    assert follower.verified() == good
    assert store.read_record("bike", "verified_commit", VerifiedCommit) == VerifiedCommit(
        commit=mirror.commit(good), branch="main"
    )


def test_all_red_rewrite_keeps_what_was_verified(origin: Any, mirror: Mirror, store: Store) -> None:
    """Production is never left without a verified commit because a rewrite turned out red."""
    follower = Follower(mirror, store)
    good = origin.commit("good", a_py="1")
    follower.settle()
    follower.verified()
    origin.git("commit", "-q", "--amend", "-m", "amended")
    follower.red.add(origin.git("rev-parse", "HEAD"))
    follower.settle()

    assert follower.verified() == good


def test_a_verified_commit_that_is_called_red_is_none(origin: Any, mirror: Mirror, store: Store) -> None:
    """Where nothing else is green its record goes, and it comes back with a green report."""
    follower = Follower(mirror, store)
    sha = origin.commit("first")
    follower.settle()
    before = follower.verified()
    follower.red.add(sha)
    follower.test(sha)
    red, record = follower.verified(), store.read_record("bike", "verified_commit", VerifiedCommit)
    follower.red.clear()
    follower.test(sha)

    assert (before, red, record) == (sha, None, None)
    assert follower.verified() == sha


def test_verified_record_is_written_only_when_it_changes(origin: Any, mirror: Mirror, store: Store) -> None:
    """The same answer leaves the file alone."""
    origin.commit("one")
    follower = Follower(mirror, store)
    follower.settle()
    follower.verified()
    path = store.record_path("bike", "verified_commit")
    before = path.stat().st_ino

    follower.verified()

    assert path.stat().st_ino == before


def test_reports_survive_the_store(origin: Any, mirror: Mirror, store: Store) -> None:
    """A report is read as it was written, and found by its SHA."""
    sha = origin.commit("one")
    follower = Follower(mirror, store)
    assert not has_report(store, "bike", sha)
    assert read_report(store, "bike", sha) is None
    mirror.fetch()
    follower.test(sha)

    assert has_report(store, "bike", sha)
    found = read_report(store, "bike", sha)
    assert found is not None
    assert found.commit == mirror.commit(sha)


def test_plan_is_pure_and_bounded() -> None:
    """The newest are tested first; the base is the oldest that is not settled."""
    made = plan("d", Cursor(tip="a", base="a"), ("d", "c", "b", "a"), {"a", "c"}.__contains__, limit=1)

    assert made == Plan(test=("d",), cursor=Cursor(tip="d", base="b"), moved=True, waiting=1)
    rewound = plan("a", made.cursor, (), {"a"}.__contains__, limit=1)
    assert rewound == Plan(test=(), cursor=Cursor(tip="a", base="a"), moved=True)
