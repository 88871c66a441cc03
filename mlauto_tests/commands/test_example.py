"""The shipped product in an installation of one's own."""

from pathlib import Path

import pandas as pd

from mlauto.commands.example import PRODUCT, TARGET, define, land, make_example, make_model_repository
from mlauto.commands.products import find_product
from mlauto.commands.stream import DemandStream
from mlauto.integration.git import mirror_of
from mlauto.settings import PACKAGE, Settings
from mlauto.training.batches.landing import Cursor, FolderLanding, scan


def test_the_product_can_be_defined_with_another_policy(settings: Settings) -> None:
    """The YAML that ships is copied, valid, and says what was asked for."""
    settings.defs.mkdir(parents=True)

    define(settings, retrain="every_batch")

    product = find_product(settings, PRODUCT)
    assert product.training.retrain == "every_batch"
    assert product.data.target == TARGET
    assert (settings.defs / PRODUCT / product.data.expectations).is_file()


def test_its_repository_has_a_commit_where_the_product_looks_for_it(settings: Settings) -> None:
    """The address in the YAML leads to a branch with a tip."""
    settings.defs.mkdir(parents=True)
    define(settings)

    place = make_model_repository(settings, DemandStream())

    assert place == settings.root / "models" / PRODUCT
    assert mirror_of(find_product(settings, PRODUCT), settings).tip() is not None


def test_a_landed_file_is_complete_at_first_sight(settings: Settings) -> None:
    """It arrives by rename, with an old time, and holds the rows."""
    frame = DemandStream().frame(0, 5)

    land(settings, frame, "rows.csv")

    folder = settings.root / "landing" / PRODUCT
    found = scan(FolderLanding(folder), Cursor(), now=pd.Timestamp.now().timestamp())
    assert [file.name for file in found.files] == ["rows.csv"]
    assert len(pd.read_csv(folder / "rows.csv")) == 5


def test_the_example_is_made_once_and_only_for_the_shipped_definitions(settings: Settings, tmp_path: Path) -> None:
    """A folder of one's own products gets nothing; a checkout gets repository and first file, the first time."""
    own = make_example(settings)
    shipped = Settings.from_environment(
        {"MLAUTO_ROOT": str(tmp_path / "checkout"), "MLAUTO_DEFS": str(PACKAGE / "defs")}
    )

    first, second = make_example(shipped), make_example(shipped)

    assert (own, first, second) == (False, True, False)
    assert (tmp_path / "checkout" / "landing" / PRODUCT / "2025.csv").is_file()
