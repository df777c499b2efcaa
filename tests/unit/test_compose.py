"""Promise 41: the container is tight by default; and what docker-compose.yml and deploy/ say fits to the service."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_vision.cli import health
from llm_vision.metrics import Metrics
from llm_vision.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICE = COMPOSE["services"]["llm-vision"]
OURS_IN_A_CONTAINER = {"VISION_DATA", "VISION_BIND", "VISION_PORT", "TRANSFORMERS_CACHE", "MANGAOCR_MODEL_PATH"}
"""Set by the image: the ports and folders in it are always the same."""
PASSED_ON = [entry for entry in SERVICE["environment"] if "=" not in entry]
OF_DOWNLOADS = {"HF_ENDPOINT", "HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
"""Not ALL_PROXY: that of a shell is often one that downloads cannot use."""


def default(text: str) -> str:
    """What Compose makes of a text where nothing is set."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_promise_41_the_service_is_tight_by_default() -> None:
    assert default(SERVICE["ports"][0]) == "127.0.0.1:9100:9100"
    assert default(SERVICE["user"]) == "1000:1000"
    assert SERVICE["read_only"] is True
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in SERVICE
    assert "cap_add" not in SERVICE
    assert default(SERVICE["mem_limit"]) == default(SERVICE["memswap_limit"]) == "6g"
    assert 0 < SERVICE["pids_limit"] <= 4096
    assert "cpus" in SERVICE
    assert SERVICE["init"] is True
    assert SERVICE["restart"] == "unless-stopped"
    assert seconds(default(SERVICE["stop_grace_period"])) > Settings(_env_file=None).drain_seconds + 10  # type: ignore[call-arg]


def test_promise_41_uploads_fit_into_what_is_temporary() -> None:
    (mount,) = SERVICE["tmpfs"]
    size = int(re.fullmatch(r"/tmp:size=(\d+)m,mode=1777", default(mount))[1])  # type: ignore[index]
    assert size > Settings(_env_file=None).buffer_mb * 1.2  # type: ignore[call-arg]


def test_promise_41_health_is_asked_of_livez() -> None:
    assert SERVICE["healthcheck"]["test"][:3] == ["CMD", "python3", "-m"]
    assert SERVICE["healthcheck"]["test"][3] == health.__spec__.name
    assert '"/livez"' in Path(health.__file__).read_text()
    dockerfile = (ROOT / "llm-vision" / "Dockerfile").read_text()
    assert json.dumps(SERVICE["healthcheck"]["test"][1:]) in dockerfile
    assert "\nUSER 1000:1000\n" in dockerfile


def test_an_image_for_no_known_device_is_refused() -> None:
    asked = ["sh", ROOT / "llm-vision" / "image" / "install.sh", "tpu"]
    refused = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (1, "DEVICE is cpu or cuda, not tpu\n")


@pytest.mark.parametrize("name", [name for name in COMPOSE["services"] if name != "llm-vision"])
def test_promise_41_the_others_start_when_asked_for_and_are_bound_to_this_machine(name: str) -> None:
    other = COMPOSE["services"][name]
    assert other["profiles"]
    assert other["cap_drop"] == ["ALL"]
    assert other["pids_limit"] > 0
    assert all(default(port).startswith("127.0.0.1:") for port in other.get("ports", []))
    assert "no-new-privileges:true" in other["security_opt"]
    assert not other["image"].endswith(":latest")
    assert ":" in other["image"]


def test_every_setting_reaches_the_container() -> None:
    prefix = Settings.model_config["env_prefix"]
    known = {
        str(field.validation_alias.choices[0]) if field.validation_alias else f"{prefix}{name.upper()}"  # type: ignore[union-attr]
        for name, field in Settings.model_fields.items()
    }
    assert known - set(PASSED_ON) == OURS_IN_A_CONTAINER | {"VISION_PUBLISHED"}
    assert "VISION_PUBLISHED=${VISION_BIND:-127.0.0.1}" in SERVICE["environment"]
    assert len(PASSED_ON) == len(set(PASSED_ON))
    assert set(PASSED_ON) - known == OF_DOWNLOADS


def test_every_variable_of_the_compose_files_is_explained() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", text))
    built_with = [entry for entry in SERVICE["build"]["args"] if "=" not in entry]
    page = (ROOT / "docs" / "deployment.md").read_text()
    example = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert not [name for name in defaults if name not in page]
    assert {*defaults, *built_with, *PASSED_ON, "COMPOSE_FILE", "COMPOSE_PROFILES"} <= example.keys()
    assert defaults.pop("VISION_DATA") == "./data", "where the service looks for it without Docker, too"
    assert {name: example[name] for name in defaults} == defaults


def test_servers_on_the_host_have_a_name() -> None:
    assert SERVICE["extra_hosts"] == ["host.docker.internal:host-gateway"]


def test_the_volumes_are_the_folders_of_the_repository() -> None:
    for mount in SERVICE["volumes"]:
        host, inside, label = default(mount).split(":")
        assert label == "z", "for SELinux"
        assert (ROOT / host / ".gitkeep").exists()
        assert inside == f"/data/{Path(host).name}"
        assert inside in (ROOT / "llm-vision" / "Dockerfile").read_text()


def test_what_the_dashboard_shows_is_measured() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "llm-vision.json").read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"llm_vision_[a-z_]+", target["expr"])
    }
    known = {
        line.split()[2] for line in Metrics().write_exposition().decode().splitlines() if line.startswith("# TYPE")
    }
    series = known | {f"{name}_{part}" for name in known for part in ("bucket", "sum", "count")}
    assert asked
    assert asked <= series


def test_prometheus_asks_the_service_by_its_name_there() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{SERVICE['hostname']}:9100"]}]


def test_the_kubernetes_example_is_as_tight() -> None:
    documents: list[Any] = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text()))
    pod = next(found for found in documents if found["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    rights = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    assert container["securityContext"] == rights
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["resources"]["limits"]["memory"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {f"/data/{name}" for name in ("llava_models", "mangaocr_models")} | {"/tmp"}


def test_the_dashboard_begins_with_a_row_of_states_and_all_panels_have_units() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "llm-vision.json").read_text())
    rows = [panel for panel in dashboard["panels"] if panel["type"] == "row"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    states = [panel for panel in panels if rows[0]["gridPos"]["y"] < panel["gridPos"]["y"] < rows[1]["gridPos"]["y"]]
    assert (rows[0]["title"], {panel["type"] for panel in states}) == ("State", {"stat"})
    assert sum(panel["gridPos"]["w"] for panel in states) == 24
    assert all(panel["fieldConfig"]["defaults"]["unit"] for panel in panels)
    assert {one["name"] for one in dashboard["templating"]["list"]} == {"datasource", "instance", "model"}


def test_there_are_no_series_of_when_others_were_created() -> None:
    assert "_created" not in Metrics().write_exposition().decode()
