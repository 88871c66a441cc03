"""The Component: one YAML document becomes one graph, and a mistake in it is shown where it was made."""

from pathlib import Path

import dagster as dg
import pytest

import mlauto
from mlauto.definitions import load
from mlauto.orchestration.component import ModelProduct
from mlauto.orchestration.graph import products_in
from mlauto.product import ModelProduct as Product
from mlauto.settings import Settings
from mlauto_tests.orchestration.conftest import made_product

CODE = "  code: {repository: models/tides, estimator: 'tide.model:build'}"
DATA = "  data: {landing: landing/tides, target: y, task: regression}"


def written(settings: Settings, *lines: str, folder: str = "tides") -> Path:
    """A `defs.yaml` with these attributes, a line each."""
    path = settings.defs / folder / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(["type: mlauto.ModelProduct", "attributes:", *lines]) + "\n")
    return path


def mistake(settings: Settings) -> str:
    """What is said of the YAML: Dagster's error and its causes."""
    with pytest.raises(Exception, match=r"tides|otherwise") as caught:
        load(settings)
    said, error = [], caught.value
    while error is not None:
        said.append(str(error))
        error = error.__cause__  # type: ignore[assignment]
    return "\n".join(said)


def test_a_document_becomes_the_products_graph(settings: Settings) -> None:
    """The same as the factory makes of the same product."""
    written(settings, "  name: tides", "  owners: ['team:sea']", CODE, DATA)

    graph = load(settings).resolve_asset_graph()

    assert {key.path[-1] for key in graph.get_all_asset_keys() if key.path[0] == "tides"} == {
        "commit",
        "ci_report",
        "verified_commit",
        "batch",
        "training_set",
        "model",
        "image",
        "test_deployment",
        "production",
        "live_metrics",
        "prediction_log",
    }
    assert graph.get(dg.AssetKey(["tides", "model"])).owners == ["team:sea"]


@pytest.mark.parametrize(
    ("lines", "line", "said"),
    [
        (["  name: tides", CODE, DATA, "  ovners: [x]"], 6, "ovners"),
        (["  name: tides", CODE, DATA, "  monitoring:", "    every: 1m", "    metrik: mae"], 8, "metrik"),
        (["  name: tides", CODE, DATA, "  monitoring:", "    every: 2 parsecs"], 7, "'2 parsecs' is no duration"),
        (["  name: tides", CODE, DATA, "  monitoring: {metric: log_loss}"], 0, "is not a metric for regression"),
        (["  name: Tides!", CODE, DATA], 3, "String should match pattern"),
        (["  name: tides", DATA], 0, "Field required"),
    ],
)
def test_a_mistake_is_shown_with_its_file_and_line(settings: Settings, lines: list[str], line: int, said: str) -> None:
    """Unknown keys, bad values, and what does not go together."""
    path = written(settings, *lines)

    told = mistake(settings)

    assert said in told
    assert str(path) in told
    assert not line or f"{path}:{line}" in told


def test_a_folder_is_called_like_its_product(settings: Settings) -> None:
    """Otherwise the expectations beside the YAML would be looked for elsewhere, and only when data arrives."""
    path = written(settings, "  name: tides", CODE, DATA, folder="otherwise")

    assert f"{path}: the product is called 'tides', its folder 'otherwise': rename one of them" in mistake(settings)


def test_the_schema_is_the_products_own() -> None:
    """Editors and Dagster's own check see every key of the YAML."""
    assert ModelProduct.get_model_cls() is Product
    assert mlauto.ModelProduct is ModelProduct


def test_a_component_can_be_made_in_python() -> None:
    """Whoever generates products needs no YAML."""
    component = ModelProduct(made_product("generated"))

    made = component.build_defs(dg.ComponentTree.for_test().load_context)

    assert products_in(made) == (component.product,)
