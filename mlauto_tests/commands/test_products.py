"""Products read from YAML without Dagster, and how their mistakes are reported."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml

from mlauto.commands.products import defs_files, find_product, json_schema, load_products, product_names
from mlauto.errors import ProductError
from mlauto.settings import Settings

GOOD = """\
type: mlauto.ModelProduct
attributes:
  name: bike
  code:
    repository: models/bike
    estimator: bike.model:build
  data:
    landing: landing/bike
    target: target
    task: regression
"""


def write(settings: Settings, folder: str, text: str) -> Path:
    """One product's YAML."""
    path = settings.defs / folder / "defs.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_a_good_file_becomes_a_product(settings: Settings) -> None:
    """The YAML is read, defaults are filled in, and it is found by its name, not its folder's."""
    write(settings, "some_folder", GOOD)

    product = find_product(settings, "bike")

    assert product.data.task == "regression"
    assert product.metric == "mae"
    assert list(load_products(settings)) == ["bike"]


def test_nothing_yet_is_no_error(settings: Settings) -> None:
    """A missing defs folder has no products."""
    assert load_products(settings) == {}
    assert product_names(settings) == []
    assert defs_files(settings) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("    task: regression", "    task: regresion", 10, "data.task"),
        ("    target: target", "    target: target\n    colour: red", 10, "data.colour: there is no such key: see"),
        (
            "    landing: landing",
            "    landin: landing",
            8,
            "data.landin: there is no such key; did you mean 'landing'?",
        ),
        ("  name: bike", "  name: Bike!", 3, "name"),
        ("    estimator: bike.model:build", "    estimator: build", 6, "must look like package.module:function"),
        ("    landing: landing/bike\n", "", 7, "data.landing: Field required"),
        ("    target: target", "    target: target\n    exclude: [a, 3]", 10, "data.exclude.1"),
        ("  name: bike", "  name: bike\n  monitoring: {every: soon}", 4, "no duration"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(
    settings: Settings, old: str, new: str, line: int, words: str
) -> None:
    """Typos, unknown keys, bad literals and missing fields point at the line to edit."""
    path = write(settings, "bike", GOOD.replace(old, new))

    with pytest.raises(ProductError) as caught:
        load_products(settings)

    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert words in str(caught.value)


def test_a_file_that_is_no_yaml(settings: Settings) -> None:
    """A syntax error names the file and where in it."""
    path = write(settings, "bike", "type: [unclosed\n")

    with pytest.raises(ProductError, match=rf"{path} is no YAML: .*line 2"):
        load_products(settings)


def test_two_products_of_one_name(settings: Settings) -> None:
    """Names are asset keys, so they must differ."""
    write(settings, "a", GOOD)
    write(settings, "b", GOOD)

    with pytest.raises(ProductError, match="another product is called 'bike'"):
        load_products(settings)


def test_several_documents_and_other_components(settings: Settings) -> None:
    """One file may hold several products; components of other kinds are not ours to judge."""
    other = "type: dagster.SomethingElse\nattributes: {name: x}\n"
    write(settings, "all", "\n---\n".join([GOOD, other, GOOD.replace("name: bike", "name: second")]))

    assert list(load_products(settings)) == ["bike", "second"]


def test_an_unknown_product_lists_the_known(settings: Settings) -> None:
    """The message helps to find the right name."""
    write(settings, "bike", GOOD)

    with pytest.raises(ProductError, match=r"no product 'bikes'.*known: bike"):
        find_product(settings, "bikes")


def test_the_first_product_is_suggested(settings: Settings) -> None:
    """Without any product the next step is named."""
    with pytest.raises(ProductError, match="`mlauto new bike` makes one"):
        find_product(settings, "bike")


def test_names_cover_yaml_and_state(settings: Settings) -> None:
    """A product whose YAML is broken or gone is still listed: its deployments may still be running."""
    write(settings, "bike", GOOD.replace("task: regression", "task: nonsense"))
    (settings.home / "products" / "retired").mkdir(parents=True)

    assert product_names(settings) == ["bike", "retired"]


def test_the_schema_knows_every_section() -> None:
    """Editors are offered the component's type, all sections, and refuse other keys."""
    schema = json_schema()
    attributes = schema["properties"]["attributes"]

    assert schema["properties"]["type"] == {"const": "mlauto.ModelProduct"}
    assert set(attributes["properties"]) >= {"name", "code", "data", "training", "delivery", "monitoring"}
    assert attributes["additionalProperties"] is False
    assert "ServiceLevel" in schema["$defs"]
    assert "$defs" not in attributes


@pytest.mark.parametrize(("bake", "fits"), [("30s", True), ("1.5h", True), (30, True), ("soon", False), (-1, False)])
def test_the_schema_accepts_what_the_loader_accepts(bake: object, fits: bool) -> None:
    """A duration is text or a number for both, so that an editor and `dg check yaml` agree with what then runs."""
    validator = import_module("jsonschema").Draft202012Validator(json_schema())
    document = yaml.safe_load(GOOD)
    document["attributes"]["delivery"] = {"bake": bake}

    assert validator.is_valid(document) is fits


@pytest.mark.parametrize(("checks", "fits"), [("external", True), ([], True), (["pytest"], True), ("pytest", False)])
def test_the_schema_accepts_checks_that_are_run_elsewhere(checks: object, fits: bool) -> None:
    """A list of commands, or the one word that is none."""
    validator = import_module("jsonschema").Draft202012Validator(json_schema())
    document = yaml.safe_load(GOOD)
    document["attributes"]["code"]["checks"] = checks

    assert validator.is_valid(document) is fits
