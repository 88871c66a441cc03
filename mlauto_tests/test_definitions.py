"""The code location as Dagster's own commands see it: each test asks a process of its own."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

import mlauto
from mlauto.commands.loop import dagster_environment
from mlauto.definitions import defs, load
from mlauto.errors import ProductError
from mlauto.orchestration.platform import PlatformResource
from mlauto.settings import PACKAGE, Settings
from mlauto_tests.orchestration.conftest import World, instance, memory, released, template

__all__ = ["instance", "memory", "released", "template"]

HEAVY = ("great_expectations", "matplotlib", "mlflow", "pandas", "pyarrow", "scipy", "skops", "sklearn")

LISTED = """
from mlauto.definitions import defs
loaded = defs()
print(*sorted(key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys()))
print(*sorted(sensor.name for sensor in loaded.sensors))
"""


def run(settings: Settings, *command: str) -> subprocess.CompletedProcess[str]:
    """The command's end, run in the checkout with these settings."""
    return subprocess.run(
        command, check=False, cwd=PACKAGE.parent, env=dagster_environment(settings), capture_output=True, text=True
    )


def test_a_defs_folder_elsewhere_is_loaded_without_a_word(settings: Settings) -> None:
    """Products may lie outside the package; no warning of Dagster's stands before what a user asked for."""
    settings.defs.mkdir(parents=True, exist_ok=True)
    shutil.copytree(PACKAGE / "defs" / "demand", settings.defs / "demand")

    loaded = run(settings, sys.executable, "-c", LISTED)

    assert loaded.stderr == ""
    assets, sensors = loaded.stdout.splitlines()
    assert {"demand/commit", "demand/batch", "demand/live_metrics"} <= set(assets.split())
    assert sensors.split() == ["commits", "data", "live"]


def test_dg_finds_the_component_and_accepts_the_shipped_yaml(settings: Settings) -> None:
    """`dg` looks for components in what `dir` lists, and checks each YAML against the schema before loading it."""
    assert "ModelProduct" in dir(mlauto)

    checked = run(settings, str(Path(sys.executable).with_name("dg")), "check", "yaml")

    assert (checked.returncode, checked.stdout.strip()) == (0, "All component YAML validated successfully.")


def test_the_shipped_products_load_without_a_word() -> None:
    """The defs folder of the package is a package itself."""
    settings = Settings.from_environment({})

    loaded = run(settings, sys.executable, "-c", LISTED)

    assert loaded.stderr == ""
    assert "demand/production" in loaded.stdout


def define(settings: Settings, name: str, **replaced: str) -> None:
    """The shipped product's YAML under another name, with pieces of its text replaced."""
    folder = settings.defs / name
    folder.mkdir(parents=True, exist_ok=True)
    text = (PACKAGE / "defs" / "demand" / "defs.yaml").read_text().replace("name: demand", f"name: {name}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    (folder / "defs.yaml").write_text(text)


def products(definitions: dg.Definitions) -> set[str]:
    """First parts of all asset keys."""
    return {key.path[0] for key in definitions.resolve_asset_graph().get_all_asset_keys()}


def test_two_products_share_a_location(settings: Settings) -> None:
    """Both graphs, three sensors for both, and everything bound once; a second folder does not see the first."""
    define(settings, "bike")
    define(settings, "tide")
    other = Settings(root=settings.root, home=settings.home, defs=settings.root / "elsewhere" / "defs")
    define(other, "wind")

    loaded = load(settings)

    assert products(loaded) == {"bike", "tide"}
    assert [sensor.name for sensor in loaded.sensors or ()] == ["commits", "data", "live"]
    assert isinstance((loaded.resources or {})["platform"], PlatformResource)
    assert loaded.executor is dg.in_process_executor
    dg.Definitions.validate_loadable(loaded)
    assert products(load(other)) == {"wind"}


@pytest.mark.parametrize("name", ["json", "defs.d", "my-products", "mlauto"])
def test_a_defs_folder_may_have_any_name(settings: Settings, name: str) -> None:
    """Also one that another Python module has, or that no module can have."""
    elsewhere = Settings(root=settings.root, home=settings.home, defs=settings.root / name)
    define(elsewhere, "tide")
    path = list(sys.path)

    assert products(load(elsewhere)) == {"tide"}
    assert sys.path == path


def test_an_empty_defs_folder_is_an_empty_location(settings: Settings) -> None:
    """The first product may come later; no folder at all is a mistake in the address."""
    with pytest.raises(
        ProductError, match=r"there is no folder .*/defs with products: make it, or correct MLAUTO_DEFS"
    ):
        load(settings)
    settings.defs.mkdir()

    assert products(load(settings)) == set()


def test_the_location_is_made_from_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `dagster ... -m mlauto.definitions` loads are the products of MLAUTO_DEFS."""
    define(settings, "tide")
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    assert products(defs()) == {"tide"}


class Gateway(BaseHTTPRequestHandler):
    """Version 1 is live, and nobody has asked it anything since the gateway began."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("x-mlauto-version", "1")
        self.end_headers()
        if self.path == "/metrics":
            self.wfile.write(b"mlauto_gateway_pid 1\n")

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def gateway_port() -> Iterator[int]:
    """Where an address answers like the gateway does."""
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


TICKS = """
import json, sys
import dagster as dg
from mlauto.definitions import defs

definitions = defs()
loaded = sorted(set(sys.modules) & set(sys.argv[1].split(",")))
told = {}
with dg.DagsterInstance.local_temp() as instance:
    for sensor in definitions.sensors:
        context = dg.build_sensor_context(instance, sensor_name=sensor.name, definitions=definitions)
        result = sensor(context)
        told[sensor.name] = [len(result.run_requests or ()), len(result.asset_events)]
print(json.dumps({"loaded": loaded, "ticked": sorted(set(sys.modules) & set(sys.argv[1].split(","))), "told": told}))
"""


def test_code_server_and_sensors_stay_light(released: World, gateway_port: int) -> None:
    """Neither loading a product nor a tick of each sensor, with a version live and data landed, imports a library."""
    places = {"models/demand": "models/tides", "landing/demand": "landing/tides", "min_labels: 100": "min_labels: 20"}
    define(released.settings, "tides", **places)
    truth = [float(number % 24) for number in range(40)]
    released.serve(truth, truth)
    (released.settings.resolve("landing/tides") / "next.csv").write_text("x,hour,y\n1,2,3\n")
    environment = {**released.settings.environment(), "MLAUTO_GATEWAY_PORT": str(gateway_port)}

    done = subprocess.run(
        [sys.executable, "-c", TICKS, ",".join(HEAVY)],
        env={**environment, "PATH": "/usr/bin:/bin", "HOME": str(released.settings.root)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["loaded"] == told["ticked"] == []
    assert told["told"]["commits"][0] == 1
    assert told["told"]["live"][1] == 5
    verdict = json.loads((released.settings.product_home("tides") / "records" / "verdict.json").read_text())
    assert verdict["status"] == "healthy"
