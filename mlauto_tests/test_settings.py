"""Settings from the environment."""

import dataclasses
import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from mlauto.errors import MlautoError
from mlauto.settings import PACKAGE, Settings


def test_the_defaults_are_the_checkout() -> None:
    """An empty environment gives the checkout, its state directory and its own SQLite database."""
    settings = Settings.from_environment({})

    assert settings.root == PACKAGE.parent
    assert settings.home == PACKAGE.parent / ".mlauto"
    assert settings.defs == PACKAGE / "defs"
    assert settings.mlflow_uri == f"sqlite:///{settings.home}/mlflow/mlflow.db"
    assert settings.gateway_url == "http://127.0.0.1:8900"
    assert settings.tick_seconds == 5


def test_every_variable_is_read(tmp_path: Path) -> None:
    """All of them together, and nothing is made on disk."""
    settings = Settings.from_environment(
        {
            "MLAUTO_ROOT": f"{tmp_path}/root",
            "MLAUTO_HOME": f"{tmp_path}/home",
            "MLAUTO_DEFS": f"{tmp_path}/defs",
            "MLAUTO_GATEWAY_HOST": "0.0.0.0",
            "MLAUTO_GATEWAY_PORT": "9000",
            "MLAUTO_GATEWAY_WORKERS": "3",
            "MLAUTO_TICK_SECONDS": "1",
            "MLAUTO_LOG_SYNC": "shared",
            "MLAUTO_JOB_MEMORY_MB": "2048",
            "MLAUTO_API_KEY": "one-key-of-two, the-other-key",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "MLAUTO_RUNTIME": "docker",
            "MLAUTO_BASE_IMAGE": "python:3.12-slim",
            "MLAUTO_CACHE": f"{tmp_path}/cache",
            "MLAUTO_REGISTRY": "registry:5000/team/",
            "MLAUTO_DASK_ADDRESS": "tcp://127.0.0.1:8786",
            "RAY_ADDRESS": "ray://127.0.0.1:10001",
            "PROMETHEUS_URL": "https://reader:secret@prometheus:9090/prom/",
            "MLAUTO_PROMETHEUS_MATCH": 'instance="a:8900"',
            "MLAUTO_PROMETHEUS_TOKEN_FILE": f"{tmp_path}/token",
            "MLAUTO_NOTIFY_WEBHOOK": "https://hooks.example/a-secret",
            "MLAUTO_NOTIFY_SLACK": "https://slack.example/a-secret",
            "MLAUTO_NOTIFY_MAIL": "ada@example.org, bob@example.org",
            "MLAUTO_NOTIFY_FROM": "loop@example.org",
            "MLAUTO_SMTP": "smtps://us:a-secret@mail.example",
        }
    )

    assert settings == Settings(
        root=tmp_path / "root",
        home=tmp_path / "home",
        defs=tmp_path / "defs",
        gateway_host="0.0.0.0",
        gateway_port=9000,
        gateway_workers=3,
        tick_seconds=1,
        log_sync="shared",
        job_memory_mb=2048,
        mlflow_uri="http://mlflow:5000",
        api_keys="one-key-of-two, the-other-key",
        runtime="docker",
        base_image="python:3.12-slim",
        cache=tmp_path / "cache",
        registry="registry:5000/team",
        dask_address="tcp://127.0.0.1:8786",
        ray_address="ray://127.0.0.1:10001",
        prometheus_url="https://reader:secret@prometheus:9090/prom",
        prometheus_match='instance="a:8900"',
        prometheus_token_file=tmp_path / "token",
        notify_webhook="https://hooks.example/a-secret",
        notify_slack="https://slack.example/a-secret",
        notify_mail="ada@example.org, bob@example.org",
        notify_from="loop@example.org",
        smtp="smtps://us:a-secret@mail.example",
    )
    assert "a-secret" not in f"{settings} {settings.environment()}"
    assert settings.engine_address("joblib-dask") == "tcp://127.0.0.1:8786"
    assert settings.engine_address("joblib-ray") == "ray://127.0.0.1:10001"
    assert settings.engine_address("local") == ""
    assert list(tmp_path.iterdir()) == []


def test_wheels_are_kept_where_caches_are(tmp_path: Path) -> None:
    """As the desktop's convention says, for every state directory of this user."""
    assert Settings.from_environment({"XDG_CACHE_HOME": str(tmp_path)}).cache == tmp_path / "mlauto"
    assert Settings.from_environment({}).cache == Path("~/.cache/mlauto").expanduser()


def test_another_process_sees_the_same(settings: Settings) -> None:
    """What `environment` hands on gives equal settings."""
    assert Settings.from_environment(settings.environment()) == settings
    more = dataclasses.replace(settings, gateway_workers=2, prometheus_url="http://p", prometheus_token_file=Path("/t"))
    assert Settings.from_environment(more.environment()) == more


def test_the_first_key_is_sent_and_none_is_shown(settings: Settings) -> None:
    """Our own clients send one header, or none; what prints settings prints no key."""
    keyed = dataclasses.replace(settings, api_keys=" one-key-of-two, the-other-key")

    assert keyed.credentials == {"x-api-key": "one-key-of-two"}
    assert settings.credentials == {}
    assert "key-of" not in repr(keyed)


def test_an_empty_variable_counts_as_unset() -> None:
    """`MLAUTO_HOME= command` does not put the state into the current directory."""
    assert Settings.from_environment({"MLAUTO_HOME": "", "MLAUTO_GATEWAY_PORT": ""}) == Settings.from_environment({})


def test_home_follows_root(tmp_path: Path) -> None:
    """Another root has a state directory of its own, and its own MLflow database within."""
    settings = Settings.from_environment({"MLAUTO_ROOT": str(tmp_path)})

    assert settings.home == tmp_path / ".mlauto"
    assert str(tmp_path) in settings.mlflow_uri


@pytest.mark.parametrize("name", ["MLAUTO_GATEWAY_PORT", "MLAUTO_GATEWAY_WORKERS", "MLAUTO_TICK_SECONDS"])
@pytest.mark.parametrize("text", ["0", "-1", "1.5", "http", "0x1f"])
def test_a_number_that_is_none_is_named(name: str, text: str) -> None:
    """The message names the variable and its value."""
    with pytest.raises(MlautoError, match=f"{name}='{text}' is not a whole number"):
        Settings.from_environment({name: text})


@pytest.mark.parametrize(
    "text",
    [
        "prometheus:9090",
        "ftp://u:secret@p:9090",
        "http://",
        "http://u:secret@",
        "http://u:secret@p:port",
        "http://u:secret@p:99999",
        "http://p?token=secret",
        "http://u:secret@p/#x",
        "http://u:secret@[::1",
        "http://u:secret@p\x7f",
    ],
)
def test_an_address_that_is_none_is_named_and_not_shown(text: str) -> None:
    """It may hold a password."""
    with pytest.raises(MlautoError, match="PROMETHEUS_URL is no address") as raised:
        Settings.from_environment({"PROMETHEUS_URL": text})

    assert "secret" not in str(raised.value)


def test_a_way_to_sync_that_is_none_is_named() -> None:
    """A typing error must not quietly mean the weaker promise."""
    with pytest.raises(MlautoError, match="MLAUTO_LOG_SYNC='sharde' is neither background nor shared"):
        Settings.from_environment({"MLAUTO_LOG_SYNC": "sharde"})


def test_paths_are_absolute_and_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative path is relative to the current directory, `~` is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "ada"))

    settings = Settings.from_environment({"MLAUTO_ROOT": "here", "MLAUTO_HOME": "~/state"})

    assert settings.root == tmp_path / "here"
    assert settings.home == tmp_path / "ada" / "state"


def test_paths_of_a_product(settings: Settings) -> None:
    """YAML paths are relative to the root; absolute ones stay."""
    assert settings.resolve("landing/bike") == settings.root / "landing" / "bike"
    assert settings.resolve("/srv/data") == Path("/srv/data")
    assert settings.product_home("bike") == settings.home / "products" / "bike"
    assert settings.gateway_home == settings.home / "gateway"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without an argument, this process's own variables count."""
    for name in [name for name in os.environ if name.startswith("MLAUTO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLAUTO_HOME", str(tmp_path))

    assert Settings.from_environment().home == tmp_path


def test_settings_cannot_be_changed(settings: Settings) -> None:
    """Two parts of a process never disagree on an address."""
    with pytest.raises(FrozenInstanceError):
        settings.gateway_port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"MLAUTO_NOTIFY_WEBHOOK": "hooks.example/a-secret"}, "MLAUTO_NOTIFY_WEBHOOK begins with none of https://"),
        ({"MLAUTO_NOTIFY_SLACK": "ftp://a-secret"}, "MLAUTO_NOTIFY_SLACK begins with none of"),
        ({"MLAUTO_SMTP": "mail:a-secret"}, "MLAUTO_SMTP begins with none of smtps://"),
        ({"MLAUTO_NOTIFY_MAIL": "a@b.org"}, "without MLAUTO_SMTP"),
    ],
)
def test_where_notices_go_must_be_usable(given: dict[str, str], said: str) -> None:
    """The variable is named, what it holds is not repeated."""
    with pytest.raises(MlautoError, match=said) as caught:
        Settings.from_environment(given)

    assert "a-secret" not in str(caught.value)
