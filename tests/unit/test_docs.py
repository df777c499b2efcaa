"""What is written about the code stays true: the OpenAPI file, codes, routes, links, names of tests."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml

from llm_vision import __version__
from llm_vision.errors import registry

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
OPENAPI = ROOT / "docs" / "openapi.json"


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_what_is_made_from_the_code_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "write_docs.py"))
    assert OPENAPI.read_text() == made["openapi"](), "run `make docs`"
    assert page("api.md") == made["api_page"](), "run `make docs`"


def test_every_reference_of_the_openapi_file_leads_somewhere() -> None:
    document = json.loads(OPENAPI.read_text())
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', OPENAPI.read_text()):
        found = document
        for part in reference.split("/"):
            found = found[part]


def test_every_code_that_a_route_can_answer_is_in_the_openapi_file() -> None:
    outside_routes = {"not_found", "method_not_allowed", "client_closed"}
    assert not [code for code in registry().keys() - outside_routes if f"`{code}`" not in OPENAPI.read_text()]


def test_every_route_is_on_the_api_page() -> None:
    for path, methods in json.loads(OPENAPI.read_text())["paths"].items():
        assert re.search(rf"\b({'|'.join(methods).upper()}) {re.escape(path)}(?![\w/{{])", page("api.md")), path


def test_the_api_page_lists_every_code_with_its_status() -> None:
    listed = {
        code: int(status) for status, code in re.findall(r"^\| (\d+) \| `(\w+)` \|", page("api.md"), re.MULTILINE)
    }
    assert listed == {code: error.status for code, error in registry().items()}


def test_errors_are_complete_and_drawn() -> None:
    from llm_vision import errors

    codes = [error.code for error in registry().values()]
    assert len(codes) == len(set(codes))
    for code, error in registry().items():
        assert error.when
        assert 400 <= error.status < 600
        assert code in (errors.__doc__ or "") or error.__name__ in (errors.__doc__ or "") or error.status == 422


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_tests_that_the_architecture_page_names_exist() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    rows = re.findall(r"^\| (\d+) \| .+ \| (.+) \|$", page("architecture.md"), re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 14))
    for _, tests in rows:
        for name in re.findall(r"`(test_\w+)`", tests):
            assert f"def {name}(" in sources, name


def test_the_example_of_a_vision_language_family_is_the_one_that_is_tested() -> None:
    """tests/models/test_second_family.py runs it; there it is not registered, since it is not published."""
    _, example = re.findall(r"```python\n(.+?)```", page("adding-a-model.md"), re.DOTALL)
    for line in ("from ...registry import register_variants\n", *re.findall(r"\n\nregister_variants\(.+\n", example)):
        example = example.replace(line, "")
    tested = (ROOT / "tests" / "fixtures" / "qwen_vl.py").read_text()
    assert example.rstrip() == tested.replace("from llm_vision.models.families.vlm.", "from .").rstrip()


def test_the_tests_that_the_reliability_page_names_exist_and_all_are_named() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("test_*.py"))
    existing = set(re.findall(r"def (test_rows?_\w+)\(", sources))
    named = set(re.findall(r"`(test_rows?_\w+)`", page("reliability.md")))
    assert named == existing


def test_the_reliability_page_has_every_row_once() -> None:
    rows = re.findall(r"^\| (\d+[a-d]?) \| .+ \| .* \| (?:`test|comes with)", page("reliability.md"), re.MULTILINE)
    lettered = ["79a", "79b", "79c", "79d"]
    numbers = [*map(str, range(1, 60)), "59a", *map(str, range(60, 80)), *lettered, *map(str, range(80, 88))]
    assert rows == numbers


def test_the_gates_that_the_architecture_page_draws_are_there() -> None:
    for name in re.findall(r"^\| .+ \| ([\w/]+\.py) \| .+ \|$", page("architecture.md"), re.MULTILINE):
        assert (ROOT / "llm-vision" / "llm_vision" / name).is_file(), name


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_the_files_for_github_are_yaml_and_name_what_exists(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    for update in content.get("updates", ()):
        assert (ROOT / update["directory"].strip("/")).is_dir()
    for job in content.get("jobs", {}).values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands
        assert all((ROOT / command).is_file() for command in commands if command.startswith("."))


def test_one_version_is_told_everywhere() -> None:
    assert f"This is version {__version__}." in (ROOT / "README.md").read_text()
    assert f"\n## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert json.loads(OPENAPI.read_text())["info"]["version"] == __version__
