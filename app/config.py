"""The environment, read once at the start. Addresses have no defaults: a forgotten one must never reach a customer.

Precedence: environment, then `--env-file`, then `.env`. An empty variable counts as not set, and hides the files'.
"""

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.codes import KillSwitch

DOTENV: Final = Path(".env")
PORT_MAX: Final = 65_535

# What a command cannot do without. "A or B": one of the two is enough.
_KAFKA: Final = "KAFKA_BOOTSTRAP_SERVERS"
_DATABASE: Final = "DATABASE_URL"
NEEDS: Final[dict[str, frozenset[str]]] = {
    "worker": frozenset({_KAFKA, _DATABASE, "OPENAI_API_KEY"}),
    "web": frozenset({_KAFKA, _DATABASE}),
    "migrate": frozenset({"DIRECT_URL or DATABASE_URL"}),
    "kafka": frozenset({_KAFKA}),
    "database": frozenset({_DATABASE}),
    "model": frozenset({_DATABASE, "OPENAI_API_KEY"}),
    "nothing": frozenset(),
}

_REMEDY: Final[dict[str, str]] = {
    "KAFKA_BOOTSTRAP_SERVERS": "name the brokers as host:port, separated by commas",
    "DATABASE_URL": "give a postgresql:// address",
    "DIRECT_URL": "give a postgresql:// address that bypasses the pooler",
    "OPENAI_API_KEY": "give the key of the model server",
    "OPENAI_BASE_URL": "give an http:// or https:// address, or unset it for the provider's own",
    "OPENAI_API": "use responses or chat",
    "SMTP_URL": "give smtp://[user:password@]host[:port] or smtps://...",
    "SMTP_FROM": "give one plain address such as replies@example.com",
    "SLACK_API_URL": "give an http:// or https:// address, or unset it for Slack's own",
    "PUBLIC_URL": "give the http:// or https:// address people reach the web pages at",
    "WEBHOOK_SINK_URL": "give an http:// or https:// address",
    "DRAFT_PIPELINE_RUN_RETENTION_DAYS": "give a whole number of days, 1 or more",
    "WORKER_HTTP_PORT": f"give a port, 0 to {PORT_MAX}",
    "WEB_METRICS_PORT": f"give a port, 0 to {PORT_MAX}",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "give the http:// or https:// address of a collector (OTLP over HTTP)",
    "LOG_LEVEL": "use DEBUG, INFO, WARNING or ERROR",
    "KAFKA_SECURITY_PROTOCOL": "use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
    "KAFKA_SASL_MECHANISM": "use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "KAFKA_SECURITY_PROTOCOL asks for a login: give the user's name",
    "KAFKA_SASL_PASSWORD": "KAFKA_SECURITY_PROTOCOL asks for a login: give the password",
    "KAFKA_SSL_CAFILE": "name a readable PEM file",
    "KAFKA_SSL_CERTFILE": "name a readable PEM file, and its key in KAFKA_SSL_KEYFILE",
    "WEBHOOK_ALLOW_PRIVATE": "use 1, 0 or nothing",
    "TRUSTED_PROXIES": "give addresses or networks such as 10.0.0.7 or 10.1.0.0/24, separated by commas",
    "OIDC_ISSUER": "give the https:// address whose /.well-known/openid-configuration describes it",
    "OIDC_CLIENT_ID": "OIDC_ISSUER is set: give the name this installation is registered under",
    "OIDC_CLIENT_SECRET": "OIDC_ISSUER is set: give the secret this installation is registered with",
    **{switch.value: "1 is off for all, 0 or nothing is on; nothing else is understood" for switch in KillSwitch},
}

_SCHEMES: Final[dict[str, tuple[str, ...]]] = {
    "database_url": ("postgresql", "postgres"),
    "direct_url": ("postgresql", "postgres"),
    "openai_base_url": ("http", "https"),
    "slack_api_url": ("http", "https"),
    "public_url": ("http", "https"),
    "webhook_sink_url": ("http", "https"),
    "oidc_issuer": ("http", "https"),
    "otel_exporter_otlp_endpoint": ("http", "https"),
    "smtp_url": ("smtp", "smtps"),
}


class ConfigError(Exception):
    """A variable that is needed is missing or malformed. One line: its name and the remedy, never its value."""

    def __init__(self, variable: str, problem: str) -> None:
        super().__init__(f"{variable} {problem}: {_REMEDY.get(variable.split(' or ')[0], 'set it')}")
        self.variable = variable


Stripped = Annotated[str, StringConstraints(strip_whitespace=True)]
Secret = Annotated[Stripped | None, Field(repr=False)]


class Config(BaseSettings):
    """Every variable of the environment, under its name in small letters. Secrets stay out of the repr."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    kafka_bootstrap_servers: Stripped | None = None
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: Stripped | None = None
    kafka_sasl_password: Secret = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_password: Secret = None

    database_url: Secret = None
    direct_url: Secret = None
    worker_id: Stripped | None = None

    openai_api_key: Secret = None
    openai_base_url: Stripped | None = None
    openai_api: Literal["responses", "chat"] = "responses"
    openai_models_extra: Stripped = ""

    auto_send_disabled: bool = False
    auto_send_revision_disabled: bool = False
    lead_context_bundle_disabled: bool = False
    webhook_allow_private: bool = False

    draft_pipeline_run_retention_days: int = Field(default=30, ge=1)
    cron_secret: Secret = None
    workspace_provisioning_secret: Secret = None
    web_secret: Secret = None

    slack_signing_secret: Secret = None
    slack_bot_token: Secret = None
    slack_channel: Stripped | None = None
    slack_approver_ids: Stripped = ""
    slack_api_url: Stripped | None = None

    smtp_url: Secret = None
    smtp_from: Stripped | None = None
    webhook_sink_url: Stripped | None = None
    public_url: Stripped = "http://127.0.0.1:8080"
    worker_http_port: int | None = Field(default=None, ge=0, le=PORT_MAX)
    web_metrics_port: int | None = Field(default=None, ge=0, le=PORT_MAX)
    otel_exporter_otlp_endpoint: Stripped | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    trusted_proxies: Stripped = ""
    trusted_user_header: Stripped = ""
    trusted_role_header: Stripped = "X-Forwarded-Role"
    trusted_workspace_header: Stripped = "X-Forwarded-Workspace"
    oidc_issuer: Stripped | None = None
    oidc_client_id: Stripped | None = None
    oidc_client_secret: Secret = None
    oidc_role_claim: Stripped = "draft_pipeline_role"
    oidc_workspace_claim: Stripped = "draft_pipeline_workspace"

    @field_validator("*", mode="before")
    @classmethod
    def _empty_is_not_set(cls, value: object, info: ValidationInfo) -> object:
        return cls.model_fields[str(info.field_name)].default if value == "" else value

    @field_validator(
        "auto_send_disabled",
        "auto_send_revision_disabled",
        "lead_context_bundle_disabled",
        "webhook_allow_private",
        mode="before",
    )
    @classmethod
    def _one_or_nothing(cls, value: object) -> bool:
        """Exactly `1`, `0` or empty: a switch that was misspelt must not be taken for "on"."""
        if value not in ("1", "0", "", True, False):
            raise ValueError("is neither 1, 0 nor empty")
        return value in ("1", True)

    @field_validator(*_SCHEMES)
    @classmethod
    def _is_an_address(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        address = urlsplit(value)
        _ = address.port  # raises ValueError when it is no number
        socket = "host=" in address.query  # postgresql:///name?host=/folder
        if address.scheme not in _SCHEMES[str(info.field_name)] or not (address.hostname or socket):
            raise ValueError("is no such address")
        return value

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _are_brokers(cls, value: str | None) -> str | None:
        for broker in value.split(",") if value else ():
            host, _, port = broker.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
                raise ValueError("is no host:port")
        return value

    @field_validator("smtp_from")
    @classmethod
    def _is_a_mail_address(cls, value: str | None) -> str | None:
        if value is not None and (value.count("@") != 1 or not value.isascii() or set(value) & set(" <>,;\r\n")):
            raise ValueError("is no plain address")
        return value

    @field_validator("kafka_ssl_cafile", "kafka_ssl_certfile")
    @classmethod
    def _is_readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("is no file")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        for network in _parts(value):
            ipaddress.ip_network(network)  # raises ValueError
        return value

    @property
    def migration_url(self) -> str | None:
        """Where migrations run: past the pooler where an address is given, else through it."""
        return self.direct_url or self.database_url

    @property
    def models_extra(self) -> frozenset[str]:
        return frozenset(_parts(self.openai_models_extra))

    @property
    def slack_approvers(self) -> frozenset[str]:
        """The Slack user ids that may approve for every workspace."""
        return frozenset(_parts(self.slack_approver_ids))

    @property
    def slack_signing_secrets(self) -> tuple[str, ...]:
        """One secret, or two separated by a comma while they are rotated."""
        return _parts(self.slack_signing_secret or "")

    @property
    def web_secrets(self) -> tuple[str, ...]:
        """What signs sessions: one, or two separated by a comma while they are rotated, the new one first."""
        return _parts(self.web_secret or "")

    @property
    def proxies(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Whose word is taken about where a request comes from and, with `trusted_user_header`, about who asks."""
        return tuple(ipaddress.ip_network(network) for network in _parts(self.trusted_proxies))

    def switches(self) -> dict[KillSwitch, bool]:
        """What this process's environment says: True is off for all."""
        return {switch: bool(getattr(self, switch.value.lower())) for switch in KillSwitch}

    def set_variables(self) -> tuple[str, ...]:
        """The names of the variables that differ from their defaults, sorted; never a value."""
        fields = type(self).model_fields.items()
        return tuple(sorted(name.upper() for name, field in fields if getattr(self, name) != field.default))

    def environment(self) -> dict[str, str]:
        """The variables that give a child process this configuration, whatever file they came from."""
        chosen = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name.upper(): ("1" if value else "0") if isinstance(value, bool) else str(value)
            for name, value in chosen.items()
            if value is not None
        }

    def require(self, needs: frozenset[str]) -> None:
        """Raise `ConfigError` for the first need that is not met. For what only turns out to be needed later."""
        for need in sorted(needs):
            if not any(getattr(self, name.lower()) for name in need.split(" or ")):
                raise ConfigError(need, "is not set")


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)


def load_config(env_file: Path | None = None, needs: frozenset[str] = NEEDS["nothing"]) -> Config:
    """The configuration, or `ConfigError` with one line that names what is wrong."""
    if env_file is not None and not env_file.is_file():
        raise ConfigError("--env-file", "names no file")
    try:
        config = Config(_env_file=(DOTENV, env_file) if env_file else (DOTENV,), _env_file_encoding="utf-8")
    except ValidationError as error:
        location = error.errors(include_input=False, include_url=False, include_context=False)[0]["loc"]
        raise ConfigError(str(location[0]).upper() if location else "environment", "is malformed") from None
    except UnicodeDecodeError:
        raise ConfigError("--env-file", "is not UTF-8") from None
    if config.kafka_security_protocol.startswith("SASL"):
        needs |= {"KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD"}
    if config.oidc_issuer is not None:
        needs |= {"OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"}
    config.require(needs)
    return config


def kafka_kwargs(config: Config) -> Mapping[str, Any]:
    """The connection arguments of every aiokafka client: brokers, protocol, login and TLS."""
    kwargs: dict[str, Any] = {
        "bootstrap_servers": config.kafka_bootstrap_servers,
        "security_protocol": config.kafka_security_protocol,
    }
    if config.kafka_security_protocol.startswith("SASL"):
        kwargs["sasl_mechanism"] = config.kafka_sasl_mechanism
        kwargs["sasl_plain_username"] = config.kafka_sasl_username
        kwargs["sasl_plain_password"] = config.kafka_sasl_password
    if config.kafka_security_protocol.endswith("SSL"):
        kwargs["ssl_context"] = kafka_ssl_context(config)
    return kwargs


def kafka_ssl_context(config: Config) -> ssl.SSLContext:
    """TLS to the brokers: certificate and host name are always checked. Raises `ConfigError` for unusable files."""
    try:
        context = ssl.create_default_context(cafile=config.kafka_ssl_cafile)
        if config.kafka_ssl_certfile is not None:
            context.load_cert_chain(config.kafka_ssl_certfile, config.kafka_ssl_keyfile, config.kafka_ssl_password)
    except (OSError, ssl.SSLError):
        raise ConfigError(
            "KAFKA_SSL_CERTFILE" if config.kafka_ssl_certfile else "KAFKA_SSL_CAFILE", "is no use"
        ) from None
    return context
