"""Promises of the configuration."""

import itertools
from pathlib import Path

import pytest

from app.config import NEEDS, Config, ConfigError, kafka_kwargs, load_config
from schemas.codes import KillSwitch

WORKER = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092",
    "DATABASE_URL": "postgresql://app:hunter2@127.0.0.1/app",
    "OPENAI_API_KEY": "sk-hunter2",
}
VARIABLES = tuple(name.upper() for name in Config.model_fields)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the machine and no `.env` of the checkout plays a part."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def environ(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def refusal(needs: frozenset[str] = NEEDS["nothing"], env_file: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(env_file, needs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("missing", sorted(WORKER))
def test_worker_names_the_variable_it_lacks(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A worker without one of its variables stops with one line that begins with that variable's name."""
    environ(monkeypatch, **{name: value for name, value in WORKER.items() if name != missing})
    assert refusal(NEEDS["worker"]).startswith(f"{missing} is not set: ")


def test_migrate_takes_either_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Migrations need a direct or a pooled address, and prefer the direct one."""
    assert refusal(NEEDS["migrate"]).startswith("DIRECT_URL or DATABASE_URL is not set")
    environ(monkeypatch, DATABASE_URL="postgresql://h/pooled")
    assert load_config(needs=NEEDS["migrate"]).migration_url == "postgresql://h/pooled"
    environ(monkeypatch, DIRECT_URL="postgresql://h/direct")
    assert load_config(needs=NEEDS["migrate"]).migration_url == "postgresql://h/direct"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "mysql://hunter2@h/x"),
        ("DATABASE_URL", "hunter2"),
        ("OPENAI_BASE_URL", "ftp://hunter2/"),
        ("OPENAI_API", "hunter2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "hunter2"),
        ("KAFKA_BOOTSTRAP_SERVERS", "h:99999,hunter2:0"),
        ("KAFKA_SECURITY_PROTOCOL", "hunter2"),
        ("SMTP_URL", "http://hunter2/"),
        ("SMTP_URL", "smtp://h:hunter2/"),
        ("SMTP_FROM", "a@b, hunter2@c"),
        ("DRAFT_PIPELINE_RUN_RETENTION_DAYS", "0"),
        ("DRAFT_PIPELINE_RUN_RETENTION_DAYS", "hunter2"),
        ("WORKER_HTTP_PORT", "70000"),
        ("LOG_LEVEL", "hunter2"),
        ("WEBHOOK_ALLOW_PRIVATE", "yes-hunter2"),
        ("KAFKA_SSL_CAFILE", "/no/such/hunter2.pem"),
    ],
)
def test_malformed_value_is_named_but_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A malformed variable stops the start with its name and a remedy, never its value."""
    environ(monkeypatch, **{**WORKER, variable: value})
    said = refusal(NEEDS["worker"])
    assert said.startswith(f"{variable} is malformed: ")
    assert "hunter2" not in said


@pytest.mark.parametrize("switch", list(KillSwitch))
@pytest.mark.parametrize(("value", "off"), [("1", True), ("0", False), ("", False), (None, False)])
def test_kill_switch_values(monkeypatch: pytest.MonkeyPatch, switch: KillSwitch, value: str | None, off: bool) -> None:
    """1 turns off for all; 0, empty and unset leave on."""
    if value is not None:
        environ(monkeypatch, **{switch.value: value})
    assert load_config().switches() == {other: off and other is switch for other in KillSwitch}


@pytest.mark.parametrize("switch", list(KillSwitch))
@pytest.mark.parametrize("value", ["true", "yes", "on", "off", "2", " 1", "1 ", "01", "-1", "False"])
def test_misspelt_kill_switch_stops_the_start(monkeypatch: pytest.MonkeyPatch, switch: KillSwitch, value: str) -> None:
    """Anything but 1, 0 or empty in a kill switch stops the start: it must never be read as "on"."""
    environ(monkeypatch, **{switch.value: value})
    assert refusal().startswith(f"{switch.value} is malformed: ")


def test_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For every combination of places, the environment wins over --env-file, and that over .env."""
    extra = tmp_path / "extra.env"
    for in_environ, in_extra, in_dotenv in itertools.product((True, False), repeat=3):
        monkeypatch.delenv("SLACK_CHANNEL", raising=False)
        (tmp_path / ".env").write_text("SLACK_CHANNEL=dotenv\n" if in_dotenv else "")
        extra.write_text("SLACK_CHANNEL=extra\n" if in_extra else "")
        if in_environ:
            environ(monkeypatch, SLACK_CHANNEL="environ")
        expected = "environ" if in_environ else "extra" if in_extra else "dotenv" if in_dotenv else None
        assert load_config(extra).slack_channel == expected


def test_empty_in_the_environment_clears_a_files_switch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty variable in the environment hides what a file says, as `demo` relies on."""
    (tmp_path / ".env").write_text("AUTO_SEND_REVISION_DISABLED=1\n")
    assert load_config().switches()[KillSwitch.AUTO_SEND_REVISION_DISABLED]
    environ(monkeypatch, AUTO_SEND_REVISION_DISABLED="")
    assert not load_config().switches()[KillSwitch.AUTO_SEND_REVISION_DISABLED]


def test_env_file_must_exist(tmp_path: Path) -> None:
    """A --env-file that is not there stops the start: running without its switches could be costly."""
    assert refusal(env_file=tmp_path / "nowhere").startswith("--env-file names no file")


def test_secrets_stay_out_of_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing the configuration shows no password, key or token."""
    environ(
        monkeypatch, **WORKER, SLACK_BOT_TOKEN="xoxb-hunter2", SMTP_URL="smtp://u:hunter2@h", WEB_SECRET="hunter2" * 4
    )
    config = load_config(needs=NEEDS["worker"])
    assert "hunter2" not in repr(config) + str(config)
    assert set(config.set_variables()) == {*WORKER, "SLACK_BOT_TOKEN", "SMTP_URL", "WEB_SECRET"}


def test_addresses_have_no_defaults() -> None:
    """Nothing is set, so there is no broker, database, model server, mail server or Slack to reach by accident."""
    config = load_config()
    assert config.set_variables() == ()
    for name in ("kafka_bootstrap_servers", "database_url", "openai_base_url", "smtp_url", "slack_api_url"):
        assert getattr(config, name) is None


def test_kafka_login_is_complete_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SASL protocol needs user and password; all clients then get login and TLS."""
    environ(monkeypatch, **WORKER, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_MECHANISM="SCRAM-SHA-512")
    assert refusal().startswith("KAFKA_SASL_PASSWORD is not set")
    environ(monkeypatch, KAFKA_SASL_USERNAME="u", KAFKA_SASL_PASSWORD="p")
    kwargs = kafka_kwargs(load_config())
    assert kwargs["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (kwargs["sasl_plain_username"], kwargs["sasl_plain_password"]) == ("u", "p")
    assert kwargs["ssl_context"].check_hostname


def test_lists_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comma-separated variables lose blanks and empty parts."""
    environ(monkeypatch, OPENAI_MODELS_EXTRA=" a, b,,", SLACK_APPROVER_IDS="U1,U2 ", SLACK_SIGNING_SECRET="new,old")
    config = load_config()
    assert config.models_extra == {"a", "b"}
    assert config.slack_approvers == {"U1", "U2"}
    assert config.slack_signing_secrets == ("new", "old")
