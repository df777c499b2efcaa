"""Every environment variable, typed, each with a docstring."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from ..logs import LogFormat
from .upstreams import UpstreamServer

CommaList = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")]

MEBIBYTE = 1024 * 1024


def _parts(text: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Settings(BaseSettings):
    """What an operator can set. The variable's name is the field's in capitals behind `VISION_`.

    The seed's names (`LLAVA_MODEL_ID`, `LLAVA_DEVICE`, `TRANSFORMERS_CACHE`, `MANGAOCR_MODEL_PATH`)
    have no prefix.

    Raises:
        pydantic.ValidationError: a value is not of its variable's kind.
    """

    model_config = SettingsConfigDict(
        env_prefix="VISION_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    # Server
    bind: str = "127.0.0.1"
    """Address to listen on. `0.0.0.0` opens the service to the network: set API keys then."""
    port: Annotated[int, Field(ge=0, le=65535)] = 9100
    """Port to listen on."""
    published: str | None = None
    """Address at which a container's port is published, as docker-compose.yml tells it. Empty: the one listened on."""
    allowed_hosts: CommaList = ()
    """Host names that clients may use besides localhost and this machine's name, comma separated; `*`: any. Empty: any,
    unless on loopback."""
    cors_origins: CommaList = ()
    """Web origins (`https://reader.example`) whose pages may call the service, comma separated."""
    owocr_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """Port for owocr's WebSocket, which meikipop and yomihon speak (theirs is 7331). Empty: none."""
    header_seconds: Annotated[float, Field(gt=0)] = 10
    """Longest time that the head of a request may take to come."""
    body_seconds: Annotated[float, Field(gt=0)] = 60
    """Longest time that the body of a request may take to come, and that an answer may take to be fetched."""
    buffer_mb: Annotated[float, Field(ge=16)] = 512
    """Memory, in MiB, that all uploads together may take, and again all decoded pictures that wait; above it, 429."""
    drain_seconds: Annotated[float, Field(ge=0, le=600)] = 30
    """After SIGTERM, how long running requests may take to finish."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severe log lines to print."""
    log_format: LogFormat = "text"
    """`text` for people, `json` for machines."""

    # Keys
    api_keys: SecretList = ()
    """Keys that may use the service, comma separated. Without these and admin keys, no key is asked for."""
    admin_keys: SecretList = ()
    """Keys that may also load, unload, download and delete models. Empty: every valid key may."""
    key_requests_per_minute: Annotated[int, Field(ge=0)] = 0
    """Requests (POST, DELETE, GET /ocr) that each key may send in a minute; without keys, each address. 0: no limit."""

    # Models
    ocr_engine: str = "auto"
    """Model id that answers /ocr when a request names no engine; `auto`: MangaOCR when its weights are there."""
    preload: CommaList = ()
    """Model ids to load at start, comma separated; the service is ready once each is loaded,
    being downloaded or has failed."""
    keep_alive: Annotated[float, Field(ge=-1)] = 300
    """Seconds that an idle model stays in memory; -1 for ever, 0 unloads at once."""
    max_loaded_models: Annotated[int, Field(ge=1, le=64)] = 4
    """Most models in memory at the same time; the longest idle one makes room."""
    memory_limit_mb: Annotated[int, Field(ge=64)] | None = None
    """Memory that all models together may use, in MiB. Empty: 80 % of the container's or machine's."""
    download: Literal["auto", "never"] = "auto"
    """Whether missing weights are downloaded when they are first needed: `auto` or `never`."""
    hf_hub_offline: bool = Field(False, validation_alias=AliasChoices("HF_HUB_OFFLINE"))
    """Whether the Hugging Face hub is never called; then nothing is downloaded, not even when it is asked for."""
    revisions: Annotated[dict[str, str], NoDecode] = Field(default_factory=dict)
    """Commits of the hub at which models' weights are downloaded, comma separated: `id=commit`, 40 hex digits."""
    load_seconds: Annotated[float, Field(gt=0)] = 600
    """Longest time that loading a model into memory may take."""
    failed_load_seconds: Annotated[float, Field(ge=0)] = 30
    """After a failed load, how long requests are answered from memory before the next try."""
    device: Device = "auto"
    """Where models run: `auto` takes a GPU when there is one and the model can use it; or `cpu`, `cuda`, `cuda:1`."""
    cpu_fallback: bool = True
    """Whether a model whose GPU is missing, too small or broken runs on the CPU."""
    llava_model_id: str = Field("auto", validation_alias=AliasChoices("LLAVA_MODEL_ID"))
    """Vision-language model that answers /analyze_image when a request names none; `auto` takes what fits here."""
    llava_device: Device = Field("auto", validation_alias=AliasChoices("LLAVA_DEVICE"))
    """Where the vision-language model runs: `auto`, `cpu`, `cuda` or one GPU, `cuda:1`."""
    llava_quantization: Literal["auto", "none", "8bit", "4bit"] = Field(
        "auto", validation_alias=AliasChoices("LLAVA_QUANTIZATION")
    )
    """Bits of its weights: `none` leaves 16; `auto` takes 4 where 16 do not fit or, on a CPU, would be slow."""
    transformers_cache: Path = Field(Path("data/llava_models"), validation_alias=AliasChoices("TRANSFORMERS_CACHE"))
    """Folder (volume) of vision-language weights; worker processes get it as the hub's cache. With Docker Compose it
    does nothing: mount the folder instead."""
    mangaocr_model_path: Path = Field(
        Path("data/mangaocr_models"), validation_alias=AliasChoices("MANGAOCR_MODEL_PATH")
    )
    """Folder (volume) of MangaOCR weights, or the folder above it. With Docker Compose it does nothing: mount the
    folder instead."""
    upstreams: Annotated[tuple[UpstreamServer, ...], NoDecode] = ()
    """Models of other servers (vLLM, SGLang, Ollama, llama.cpp), comma separated: `id=url#model`."""
    upstream_keys: SecretList = ()
    """Keys that those servers ask for, comma separated: `id=key`."""

    # Requests
    queue_size: Annotated[int, Field(ge=0, le=10_000)] = 32
    """Requests that may wait for one model; one more is refused with 429."""
    queue_seconds: Annotated[float, Field(gt=0)] = 30
    """Longest wait in the queue of a loaded model, or for a place to fetch a picture by URL."""
    batch_wait_ms: Annotated[float, Field(ge=0, le=100)] = 3
    """Longest wait for a request that is still being decoded to join a batch; a lone request never waits."""
    ocr_seconds: Annotated[float, Field(gt=0)] = 60
    """Deadline of an OCR request."""
    page_seconds: Annotated[float, Field(gt=0)] = 180
    """Deadline of a page."""
    batch_seconds: Annotated[float, Field(gt=0)] = 600
    """Deadline of a batch; what is not read by then has an error in its place."""
    analyze_seconds: Annotated[float, Field(gt=0)] = 300
    """Deadline of an analysis."""
    max_prompt_chars: Annotated[int, Field(ge=1)] = 16_384
    """Longest prompt, in characters."""

    max_pictures: Annotated[int, Field(ge=1, le=64)] = 8
    """Most pictures in one chat request, those of earlier messages included; Frigate sends up to 10."""

    # Pictures by URL
    url_hosts: CommaList = ()
    """Hosts that pictures may be fetched from by URL, comma separated; `*` for every public one. Empty: none."""
    url_http: bool = False
    """Whether `http:` is allowed besides `https:`."""
    url_private: bool = False
    """Whether hosts listed by name may be in a private network, on this machine, or on ports other than 80 and 443."""
    url_redirects: Annotated[int, Field(ge=0, le=3)] = 0
    """How often a picture's server may send on to another URL."""
    url_seconds: Annotated[float, Field(gt=0, le=60)] = 10
    """Longest time that fetching a picture may take."""

    # Pictures
    max_file_mb: Annotated[float, Field(gt=0, le=1024)] = 20
    """Largest picture file, in MiB."""
    max_batch_mb: Annotated[float, Field(gt=0, le=4096)] = 200
    """All files of a batch together, in MiB; VISION_BUFFER_MB at most."""
    max_megapixels: Annotated[float, Field(gt=0, le=350)] = 50
    """Largest picture, in millions of pixels."""
    max_side: Annotated[int, Field(ge=4)] = 32_768
    """Longest side of a picture, in pixels."""
    max_ratio: Annotated[float, Field(ge=1)] = 200
    """Largest ratio between the sides of a picture."""
    min_side: Annotated[int, Field(ge=1)] = 4
    """Shortest side of a picture, in pixels."""
    allow_tiff: bool = False
    """Whether TIFF pictures are accepted."""

    @field_validator(
        "allowed_hosts",
        "cors_origins",
        "api_keys",
        "admin_keys",
        "preload",
        "upstream_keys",
        "url_hosts",
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return _parts(value) if isinstance(value, str) else value

    @field_validator("upstreams", mode="before")
    @classmethod
    def _read_upstreams(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        servers = tuple(UpstreamServer.parse(part) for part in _parts(value))
        if len({server.model_id for server in servers}) < len(servers):
            raise ValueError("two servers have the same id")
        return servers

    @field_validator("revisions", mode="before")
    @classmethod
    def _read_revisions(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.rpartition("=") for part in _parts(value)]
        if not all(name and re.fullmatch(r"[0-9a-f]{40}", commit) for name, _, commit in pairs):
            raise ValueError("write each pin as id=commit; a commit has 40 hexadecimal digits, a branch is no pin")
        found = {name: commit for name, _, commit in pairs}
        if len(found) < len(pairs):
            raise ValueError("a model is pinned twice")
        return found

    @field_validator("keep_alive")
    @classmethod
    def _keep_alive_is_a_time_or_for_ever(cls, seconds: float) -> float:
        if seconds < 0 and seconds != -1:
            raise ValueError("seconds from 0, or -1 for ever")
        return seconds

    @field_validator("bind", "published")
    @classmethod
    def _bind_is_an_address(cls, value: str | None) -> str | None:
        if value and value != "localhost":
            ipaddress.ip_address(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
                raise ValueError("an origin is written as https://host or https://host:port")
        return origins

    @field_validator("allowed_hosts", "url_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if host != "*" and not re.fullmatch(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\]", host):
                raise ValueError("a host is a name or address, without scheme, port or path")
        return hosts

    @field_validator("api_keys", "admin_keys", "upstream_keys")
    @classmethod
    def _keys_can_be_sent(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
                raise ValueError("a key is of printable ASCII without spaces: others do not fit into a header")
        return keys

    @model_validator(mode="after")
    def _limits_fit_together(self) -> Self:
        if self.min_side > self.max_side:
            raise ValueError("VISION_MIN_SIDE is above VISION_MAX_SIDE: no picture would be accepted")
        if self.max_body_bytes > self.buffer_bytes:
            raise ValueError("VISION_BUFFER_MB is less than 1.4 times VISION_MAX_FILE_MB: large files would never pass")
        keys = self.key_of_upstream
        if len(keys) < len(self.upstream_keys) or "" in keys.values():
            raise ValueError("VISION_UPSTREAM_KEYS: write each key as id=key, one for an id")
        if not keys.keys() <= {server.model_id for server in self.upstreams}:
            raise ValueError("VISION_UPSTREAM_KEYS has an id that is not in VISION_UPSTREAMS")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        address = self.published or self.bind
        return address == "localhost" or ipaddress.ip_address(address).is_loopback

    @property
    def key_of_upstream(self) -> dict[str, str]:
        """The keys of other servers by model id."""
        pairs = (key.get_secret_value().partition("=") for key in self.upstream_keys)
        return {model_id: key for model_id, _, key in pairs}

    @property
    def max_file_bytes(self) -> int:
        """Largest picture file, in bytes."""
        return int(self.max_file_mb * MEBIBYTE)

    @property
    def buffer_bytes(self) -> int:
        """What uploads, or decoded pictures, may take together, in bytes."""
        return int(self.buffer_mb * MEBIBYTE)

    @property
    def max_body_bytes(self) -> int:
        """Largest request body: base64 makes a file a third larger, and other fields come with it."""
        return int(self.max_file_bytes * 1.4)

    @property
    def max_batch_bytes(self) -> int:
        """Largest body of a batch, in bytes."""
        return max(self.max_body_bytes, min(int(self.max_batch_mb * MEBIBYTE), self.buffer_bytes))
