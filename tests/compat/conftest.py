"""The service that every client talks to, and what each asks it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from compat.asked import Asked, colours, descriptions, first_shapes
from compat.live import MODEL, Service, running
from fixtures.fake_hub import Hub
from fixtures.tiny_models import LLAVA

for _name in [name for name in os.environ if name.startswith(("OPENAI_", "OLLAMA_", "LANGSMITH_", "LANGCHAIN_"))]:
    del os.environ[_name]  # clients read their settings from here


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """One for a test that may do anything."""
    with running(tmp_path) as started:
        yield started


@pytest.fixture
def empty_service(tmp_path: Path) -> Iterator[Service]:
    """One that has no model yet, and a hub to get it from."""
    with Hub.of_folder(MODEL, LLAVA) as hub, running(tmp_path, hub.url) as started:
        yield started


@pytest.fixture
def openai_client(service: Service) -> Iterator[OpenAI]:
    """OpenAI's client; it tries once, so that no test passes at the second time."""
    with OpenAI(base_url=service.openai_url, api_key="unused", max_retries=0) as client:
        yield client


@pytest.fixture
def asked() -> Asked:
    """A question about a colour."""
    return colours()[1]


@pytest.fixture
def described() -> Asked:
    """A question whose answer is a sentence."""
    return descriptions()[0]


@pytest.fixture
def first_shape() -> Asked:
    """A question whose answer is JSON."""
    return first_shapes()[1]
