"""The real image and the real compose file on a real engine: what a user of `docker compose up` relies on."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml

from containers.asking import PAGE, answers, post, reads_bubble
from containers.engine import Engine, Failed
from containers.figures import measured
from containers.project import USER, Project
from fixtures.raw_http import request
from fixtures.tiny_models import LLAVA, LLAVA_ID, MANGA_OCR
from fixtures.waiting import eventually

MOST_BYTES = 1_600_000_000
GIBIBYTE = 2**30


def snapshot(volume: Path) -> dict[str, tuple[int, int, int]]:
    """Size, time of the last change and inode of all files."""
    states = {str(path.relative_to(volume)): path.stat() for path in volume.rglob("*") if path.is_file()}
    return {name: (state.st_size, state.st_mtime_ns, state.st_ino) for name, state in states.items()}


def gateway(project: Project) -> psutil.Process:
    """The service's process as this machine sees it: the only child of the container's init."""
    (found,) = psutil.Process(project.state()["State"]["Pid"]).children()
    return found


def test_the_image_is_small_says_what_it_is_and_runs_as_nobody_special(engine: Engine, image: str) -> None:
    (found,) = json.loads(engine.docker("image", "inspect", image))
    measured["image"] = f"{found['Size'] / 1e9:.2f} GB"
    assert found["Size"] < MOST_BYTES
    config = found["Config"]
    assert config["User"] == f"{USER}:{USER}"
    assert config["Labels"]["org.opencontainers.image.title"] == "LLM Vision"
    assert "curl" not in " ".join(config["Healthcheck"]["Test"])
    listed = engine.docker("run", "--rm", "--entrypoint", "find", image, "/data", "-printf", "%p %U %y\n")
    folders = ["/data", *(f"/data/{name}" for name in ("llava_models", "mangaocr_models"))]
    assert sorted(listed.splitlines()) == [f"{folder} {USER} d" for folder in folders], "no weights in the image"


def test_it_becomes_healthy(project: Project) -> None:
    project.wait_healthy()


def test_it_answers_from_the_weights_on_the_volumes(project: Project) -> None:
    reads_bubble(project)
    answers(project)


def test_a_restart_downloads_and_converts_nothing_and_answers_the_same(project: Project) -> None:
    before = answers(project)
    volumes = project.folder / "data"
    kept = snapshot(volumes)
    assert any(".int4/" in name for name in kept), "the 4-bit weights are kept"
    project.compose("restart", "--timeout", "40")
    project.wait_ready()
    assert answers(project) == before
    assert snapshot(volumes) == kept


def test_the_root_is_read_only_and_no_right_is_left(project: Project) -> None:
    assert project.execute("id", "-u").strip() == str(USER)
    with pytest.raises(Failed, match="Read-only file system"):
        project.execute("touch", "/opt/venv/x", user="0")
    status = dict(
        line.split(":\t", 1) for line in project.execute("cat", "/proc/self/status").splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert project.execute("cat", "/proc/1/comm").strip() in ("docker-init", "tini")


def test_memory_processes_and_temporary_files_have_limits(project: Project) -> None:
    host = project.state()["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (6 * GIBIBYTE, 2048)
    assert "size=786432k" in project.execute("grep", " /tmp ", "/proc/mounts")
    with pytest.raises(Failed, match="No space left on device"):
        project.execute("dd", "if=/dev/zero", "of=/tmp/full", "bs=1M", "count=800")
    project.execute("rm", "/tmp/full")
    hog = "x = bytearray(7 * 2**30); x[::4096] = bytes([1]) * len(x[::4096])"
    with pytest.raises(Failed, match="ended with 137"):
        project.execute("python3", "-c", hog)
    reads_bubble(project)


def enforced(project: Project, *files: str) -> list[str]:
    """What the kernel says of a limit to those inside; cgroups 1 and 2 have files of their own."""
    found = []
    for file in files:
        with contextlib.suppress(Failed):
            found.append(project.execute("cat", f"/sys/fs/cgroup/{file}").strip())
    return found


def test_the_kernel_holds_memory_and_processes_to_their_limits(project: Project) -> None:
    assert enforced(project, "pids.max", "pids/pids.max") == ["2048"]
    assert enforced(project, "memory.max", "memory/memory.limit_in_bytes") == [str(6 * GIBIBYTE)]


def test_there_is_no_swap_beside_the_memory(project: Project) -> None:
    swap = enforced(project, "memory.swap.max")
    memory_and_swap = enforced(project, "memory/memory.memsw.limit_in_bytes")
    if not swap and not memory_and_swap:
        pytest.skip("this kernel does not count swap")
    assert (swap, memory_and_swap) in ((["0"], []), ([], [str(6 * GIBIBYTE)]))


def test_only_this_machine_can_reach_the_port(project: Project) -> None:
    bindings = project.state()["NetworkSettings"]["Ports"]["9100/tcp"]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(project.port)}]
    listening = {found.laddr for found in psutil.net_connections("tcp") if found.status == psutil.CONN_LISTEN}
    assert [address.ip for address in listening if address.port == project.port] == ["127.0.0.1"]


def test_a_foreign_page_cannot_rebind_its_name_to_the_port(project: Project) -> None:
    def status(host: str) -> int:
        return httpx2.get(f"{project.url}/version", headers={"Host": host}).status_code

    assert (status("localhost"), status("llm-vision:9100"), status("evil.example")) == (200, 200, 400)


def test_sigterm_lets_a_running_request_finish(project: Project) -> None:
    found: list[httpx2.Response] = []
    reads_bubble(project)
    asking = threading.Thread(target=lambda: found.append(post(project, "/ocr/page", PAGE.read_bytes())))
    asking.start()
    time.sleep(0.5)
    assert asking.is_alive(), "the page is being read"
    project.compose("stop")
    asking.join()
    assert found[0].status_code == 200
    assert found[0].json()["blocks"]
    assert project.engine.docker("inspect", "--format", "{{.State.ExitCode}}", stopped(project)).strip() == "0"
    project.compose("start")
    project.wait_ready()


def stopped(project: Project) -> str:
    """The id of a container that does not run."""
    return project.engine.docker(
        "ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={project.name}"
    ).strip()


def test_kill_9_restarts_it_and_the_volume_is_whole(project: Project) -> None:
    before = answers(project)
    kept = snapshot(project.folder / "data")
    restarts = project.state()["RestartCount"]
    gateway(project).send_signal(signal.SIGKILL)
    eventually(lambda: project.state()["RestartCount"] == restarts + 1)
    project.wait_ready()
    assert answers(project) == before
    assert snapshot(project.folder / "data") == kept


def test_the_file_env_sets_what_the_service_reads(another: Project) -> None:
    another.set({"VISION_API_KEYS": "'ses$ame'", "VISION_LOG_FORMAT": "json", "VISION_CONTAINER_MEMORY": "1g"})
    another.start()
    assert httpx2.get(f"{another.url}/models").status_code == 401
    assert httpx2.get(f"{another.url}/models", headers={"X-API-Key": "ses$ame"}).status_code == 200
    assert another.state()["HostConfig"]["Memory"] == GIBIBYTE
    assert json.loads(another.logs().splitlines()[0])


def test_a_gpu_that_is_not_there_is_no_reason_not_to_answer(another: Project) -> None:
    another.set({"LLAVA_DEVICE": "cuda"})
    another.put(LLAVA, "llava_models", LLAVA_ID)
    another.put(MANGA_OCR, "mangaocr_models", "manga-ocr-base")
    another.start()
    assert "no such NVIDIA GPU is visible, although cuda is requested" in another.logs()
    answers(another)
    ready: dict[str, Any] = httpx2.get(f"{another.url}/readyz").json()
    assert ready["notices"] == {LLAVA_ID: "the requested GPU was not found"}


def held_in_tmp(project: Project) -> int:
    """Bytes that files take there, also those without a name."""
    look = "import os; state = os.statvfs('/tmp'); print((state.f_blocks - state.f_bfree) * state.f_frsize)"
    return int(project.execute("python3", "-c", look))


def test_an_upload_broken_off_leaves_nothing(project: Project) -> None:
    before = held_in_tmp(project)
    form = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "9000000"}
    with socket.create_connection(("127.0.0.1", project.port)) as client:
        client.sendall(request("/ocr", headers=form))
        client.sendall(
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + bytes(4_000_000)
        )
        eventually(lambda: held_in_tmp(project) > before + 3_000_000)
    eventually(lambda: held_in_tmp(project) <= before)


def test_the_gpu_file_adds_a_gpu_and_takes_nothing_away(project: Project) -> None:
    both = ["-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml", "config"]
    plain = yaml.safe_load(project.compose("config"))["services"]["llm-vision"]
    found = yaml.safe_load(project.compose(*both))["services"]["llm-vision"]
    assert found["image"] == "llm-vision:cuda"
    assert found["build"]["args"]["DEVICE"] == "cuda"
    assert found["environment"]["VISION_DEVICE"] == "cuda"
    (device,) = found["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    for name in ("read_only", "cap_drop", "security_opt", "mem_limit", "user", "ports", "volumes", "tmpfs"):
        assert found[name] == plain[name]
