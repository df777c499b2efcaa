"""LLaVA over HTTP: it answers /analyze_image when its weights are on the volume, and is missed politely when not."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import httpx2
import pytest

from faults.scenarios import first_requests
from fixtures.counts import many, some
from fixtures.encoding import saved
from fixtures.live import LiveServer, Start
from fixtures.remote_pictures import Remote
from fixtures.shapes import EXACT_KINDS, Question, Scene, held_out, questions, random_scene
from fixtures.tiny_models import LLAVA, LLAVA_ID, LLAVA_NEXT, LLAVA_NEXT_ID, copied
from fixtures.waiting import eventually

ALIAS = "liuhaotian/llava-v1.5-7b"


def post(server: LiveServer, scene: Scene, prompt: str, **fields: str) -> httpx2.Response:
    data = saved(scene.draw())
    return server.client.post("/analyze_image", files={"file": data}, data={"prompt": prompt, **fields})


def scenes(count: int, seed: int = 21, kind: str | None = "count") -> list[tuple[Scene, Question]]:
    """Scenes and questions that the tiny model answers right."""
    return list(held_out(count, seed, kind))


def pairs(count: int) -> list[tuple[Scene, list[Question]]]:
    """Scenes, each with two questions of the kinds that have one right answer."""
    chance = random.Random(24)
    drawn = [random_scene(chance, held_out=True) for _ in range(count)]
    return [(scene, [one for one in questions(scene, chance, 6) if one.kind in EXACT_KINDS][:2]) for scene in drawn]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    copied(LLAVA, folder / LLAVA_ID)
    copied(LLAVA_NEXT, folder / LLAVA_NEXT_ID)
    return folder


@pytest.fixture(scope="module")
def ready(volume: Path, start_module_server: Start) -> LiveServer:
    """A server whose volume has the weights of both, and which fetches pictures of this machine."""
    hosts = {"VISION_URL_HOSTS": "127.0.0.1", "VISION_URL_HTTP": "true", "VISION_URL_PRIVATE": "true"}
    return start_module_server({"TRANSFORMERS_CACHE": str(volume), "LLAVA_MODEL_ID": ALIAS, **hosts})


@pytest.fixture(scope="module")
def without_gpu(volume: Path, start_module_server: Start) -> LiveServer:
    """A server that looks for a model itself and is asked for a GPU that is not there."""
    return start_module_server({"TRANSFORMERS_CACHE": str(volume), "LLAVA_DEVICE": "cuda"})


def info(server: LiveServer, model_id: str) -> dict:
    return next(model for model in server.client.get("/models").json()["models"] if model["id"] == model_id)


def test_it_answers_when_its_weights_are_there(ready: LiveServer) -> None:
    for scene, question in scenes(5):
        body = post(ready, scene, question.prompt).json()
        assert (body["analysis"], body["model"]) == (question.answer, LLAVA_ID)
        assert (body["degraded"], body["notice"]) == (False, None)
        assert body["confidence"] > 0.5
        usage = body["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert usage["completion_tokens"] == 2, "the word and the end"


def test_earlier_turns_are_understood_and_the_picture_stays(ready: LiveServer) -> None:
    right = 0
    conversations = pairs(many(8, 4))
    for scene, (first, second) in conversations:
        history = [{"role": "user", "content": first.prompt}, {"role": "assistant", "content": first.answer}]
        body = post(ready, scene, second.prompt, history=json.dumps(history)).json()
        right += body["analysis"] == second.answer
        alone = post(ready, scene, second.prompt).json()
        assert body["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]
    assert right >= len(conversations) - 1


def test_how_long_and_how_varied_an_answer_is(ready: LiveServer) -> None:
    ((scene, question),) = scenes(1)
    short = post(ready, scene, "Describe the picture.", max_tokens="1").json()
    assert short["usage"]["completion_tokens"] == 1
    greedy = {post(ready, scene, question.prompt, temperature="0").json()["analysis"] for _ in range(3)}
    assert greedy == {question.answer}
    narrow = post(ready, scene, question.prompt, temperature="1", top_p="0.01").json()
    assert narrow["analysis"] == question.answer


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"temperature": "1.5"}, "invalid_parameter", "temperature"),
        ({"top_p": "0"}, "invalid_parameter", "top_p"),
        ({"max_tokens": "0"}, "invalid_parameter", "max_tokens"),
        ({"max_tokens": "999999"}, "invalid_parameter", "max_tokens"),
        ({"history": "not json"}, "malformed_json", "history"),
        ({"history": "[NaN]"}, "malformed_json", "history"),
        ({"history": "[1]"}, "invalid_parameter", "history"),
        ({"history": '[{"role": "tool", "content": "x"}]'}, "invalid_parameter", "history.role"),
        ({"history": '[{"role": "user"}]'}, "invalid_parameter", "history.content"),
        ({"history": '[], "more": 1'}, "malformed_json", "history"),
        (
            {"history": '[{"role": "user", "content": "x", "more": "is ignored"}] , "more": 1'},
            "malformed_json",
            "history",
        ),
        ({"history": "[" * 80 + "]" * 80}, "json_too_deep", None),
        ({"history": json.dumps([{"role": "user", "content": "x" * 9000}] * 2)}, "prompt_too_long", "prompt"),
        ({"history": json.dumps([{"role": "user", "content": "x"}] * 65)}, "prompt_too_long", "history"),
    ],
)
def test_wrong_wishes_are_refused(ready: LiveServer, fields: dict[str, str], code: str, param: str | None) -> None:
    ((scene, question),) = scenes(1)
    answer = post(ready, scene, question.prompt, **fields)
    assert (answer.json()["code"], answer.json()["error"]["param"]) == (code, param)


def test_a_picture_by_url(ready: LiveServer) -> None:
    with Remote() as remote:
        fields = {"prompt": "text?", "model": "embedded-analysis", "url": remote.url("/good.png")}
        for sent in ({"data": fields}, {"files": {name: (None, text) for name, text in fields.items()}}):
            answer = ready.client.post("/analyze_image", **sent)  # type: ignore[arg-type]
            assert answer.json().get("code") == "unsupported_media_type" or "電車" in answer.json()["analysis"]
        by_json = ready.client.post("/analyze_image", json=fields)
        assert "電車" in by_json.json()["analysis"]
        both = ready.client.post("/analyze_image", files={"file": b"x"}, data=fields)
        assert (both.json()["code"], both.json()["error"]["param"]) == ("invalid_parameter", "url")
        gone = ready.client.post("/analyze_image", json={**fields, "url": remote.url("/404")})
        assert gone.json()["code"] == "image_fetch_failed"
    nothing = ready.client.post("/analyze_image", json={"prompt": "text?"})
    assert nothing.json()["code"] == "file_required"


@pytest.mark.parametrize("model", some([ALIAS, LLAVA_ID, "liuhaotian/llava-v1.6-mistral-7b", LLAVA_NEXT_ID], 2))
def test_a_model_can_be_named_also_as_its_authors_do(ready: LiveServer, model: str) -> None:
    ((scene, question),) = scenes(1)
    body = post(ready, scene, question.prompt, model=model).json()
    assert body["analysis"] == question.answer
    assert body["model"] == (LLAVA_ID if "1.5" in model else LLAVA_NEXT_ID)


def test_models_tells_where_and_how_it_runs_and_why_it_was_chosen(ready: LiveServer) -> None:
    ready.client.post("/models/load", json={"model": ALIAS})
    found = info(ready, LLAVA_ID)
    assert (found["state"], found["device"], found["quantization"]) == ("ready", "cpu", "none")
    assert found["chosen_because"] == "LLAVA_MODEL_ID names it"
    assert found["aliases"][0] == ALIAS
    assert info(ready, LLAVA_NEXT_ID)["chosen_because"] is None


def test_the_same_after_unload_and_reload(ready: LiveServer) -> None:
    ((scene, question),) = scenes(1)
    before = post(ready, scene, question.prompt).json()
    assert ready.client.post("/models/unload", json={"model": ALIAS}).json()["unloaded"]
    assert info(ready, LLAVA_ID)["state"] == "not_loaded"
    assert post(ready, scene, question.prompt).json() == before


def test_promise_18_many_at_once_get_their_own_answers(ready: LiveServer) -> None:
    count = many(60, 30)
    asked = first_requests.questions(count, seed=22)
    answers = [answer for start in range(0, count, 30) for answer in first_requests.at_once(ready, asked[start:][:30])]
    assert answers == first_requests.one_by_one(ready, asked)
    assert len(set(answers)) > 10


def test_promise_28_a_model_that_is_not_used_gives_its_memory_back(start_server: Start, volume: Path) -> None:
    server = start_server({"TRANSFORMERS_CACHE": str(volume), "LLAVA_MODEL_ID": ALIAS, "VISION_KEEP_ALIVE": "0"})
    ((scene, question),) = scenes(1)
    for _ in range(many(2, 1)):
        assert post(server, scene, question.prompt).json()["model"] == LLAVA_ID
        eventually(lambda: not server.children("child.main"))
        assert info(server, LLAVA_ID)["state"] == "not_loaded"


def test_promise_02_first_requests_at_once_load_each_model_once(start_server: Start, tmp_path: Path) -> None:
    server, calls = (
        start_server(first_requests.settings(tmp_path / "weights")),
        first_requests.mixed_calls(many(64, 16)),
    )
    found = first_requests.burst(server, calls)
    assert (found.loads, found.processes) == ((1, 1), 2)
    assert found.answers == first_requests.one_by_one(server, calls)


def test_without_weights_facts_are_told_or_an_error(start_server: Start, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    server = start_server({"TRANSFORMERS_CACHE": str(empty), "LLAVA_MODEL_ID": ALIAS})
    ((scene, question),) = scenes(1)
    body = post(server, scene, question.prompt).json()
    assert (body["model"], body["degraded"], body["usage"]) == ("embedded-analysis", True, None)
    assert LLAVA_ID in body["notice"]
    assert server.metric('llm_vision_degraded_answers_total{model="embedded-analysis"}') == 1
    for fields in ({"model": ALIAS}, {"fallback": "never"}):
        refused = post(server, scene, question.prompt, **fields)
        assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
        assert LLAVA_ID in refused.json()["detail"]
    copied(LLAVA, empty / "llava-1.5-7b-hf")
    assert post(server, scene, question.prompt).json()["model"] == LLAVA_ID


def test_auto_takes_what_is_on_the_volume(without_gpu: LiveServer) -> None:
    ((scene, question),) = scenes(1)
    assert post(without_gpu, scene, question.prompt).json()["analysis"] == question.answer
    chosen = [model for model in without_gpu.client.get("/models").json()["models"] if model["chosen_because"]]
    assert [model["chosen_because"] for model in chosen] == ["its weights are on the volume"]
    assert "LLAVA_MODEL_ID=auto is" in without_gpu.log


def test_auto_without_weights_and_gpu_is_the_small_one(start_server: Start, tmp_path: Path) -> None:
    server = start_server({"TRANSFORMERS_CACHE": str(tmp_path)})
    found = info(server, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf")
    assert found["chosen_because"] == "there is no GPU, and no weights that fit are on the volume"


def test_four_bits_answer_too_and_their_copy_is_used_again(start_server: Start, tmp_path: Path) -> None:
    folder = copied(LLAVA, tmp_path / "volume" / LLAVA_ID)
    environment = {
        "TRANSFORMERS_CACHE": str(folder.parent.parent),
        "LLAVA_MODEL_ID": ALIAS,
        "LLAVA_QUANTIZATION": "4bit",
    }
    ((scene, question),) = scenes(1)
    server = start_server(environment)
    assert post(server, scene, question.prompt).json()["analysis"] == question.answer
    assert info(server, LLAVA_ID)["quantization"] == "4bit"
    (copy,) = (folder / ".int4").glob("*.safetensors")
    made = copy.stat().st_mtime_ns
    assert server.client.post("/models/unload", json={"model": ALIAS}).json()["unloaded"]
    assert post(server, scene, question.prompt).json()["analysis"] == question.answer
    assert copy.stat().st_mtime_ns == made


def test_promise_35_a_gpu_that_is_not_there_is_told_and_the_cpu_answers(
    without_gpu: LiveServer, start_server: Start, volume: Path
) -> None:
    ((scene, question),) = scenes(1)
    body = post(without_gpu, scene, question.prompt).json()
    assert (body["analysis"], body["degraded"]) == (question.answer, True)
    assert body["notice"] == "the requested GPU was not found"
    assert "no such NVIDIA GPU is visible, although cuda is requested" in without_gpu.log
    assert without_gpu.client.get("/readyz").json()["notices"] == {body["model"]: body["notice"]}
    strict = start_server(
        {
            "TRANSFORMERS_CACHE": str(volume),
            "LLAVA_MODEL_ID": ALIAS,
            "LLAVA_DEVICE": "cuda",
            "VISION_CPU_FALLBACK": "false",
        }
    )
    refused = post(strict, scene, question.prompt, model=ALIAS)
    assert (refused.status_code, refused.json()["code"]) == (503, "insufficient_memory")


def test_a_model_that_does_not_fit_is_refused_with_the_numbers(start_server: Start, volume: Path) -> None:
    server = start_server({"TRANSFORMERS_CACHE": str(volume), "LLAVA_MODEL_ID": ALIAS, "VISION_MEMORY_LIMIT_MB": "600"})
    ((scene, question),) = scenes(1)
    refused = post(server, scene, question.prompt, model=ALIAS)
    assert (refused.status_code, refused.json()["code"]) == (503, "insufficient_memory")
    assert "models may use 600 MiB" in refused.json()["detail"]
    assert post(server, scene, "size?").json()["model"] == "embedded-analysis"


def test_a_folder_of_the_authors_is_refused_with_the_right_name(start_server: Start, tmp_path: Path) -> None:
    folder = copied(LLAVA, tmp_path / "volume")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "mm_vision_tower": "openai/clip-vit-large-patch14"}))
    server = start_server({"TRANSFORMERS_CACHE": str(folder), "LLAVA_MODEL_ID": ALIAS})
    ((scene, question),) = scenes(1)
    refused = post(server, scene, question.prompt, model=ALIAS)
    assert (refused.status_code, refused.json()["code"]) == (503, "model_load_failed")
    assert f"those of {LLAVA_ID} are needed" in refused.json()["detail"]
    shutil.copy(LLAVA / "config.json", folder / "config.json")
    assert post(server, scene, question.prompt).json()["model"] == LLAVA_ID, "repaired files are tried at once"
