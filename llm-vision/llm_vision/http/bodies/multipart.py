"""A multipart/form-data body as fields and files, within limits on everything that can be large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from ...errors import FileRequired, InvalidText, MalformedMultipart, MultipartLimits, StorageFull, TooManyFiles
from ..limits import too_large

MAX_PARTS = 16
MAX_FIELD_BYTES = 64 * 1024
MAX_BOUNDARY_CHARS = 70  # RFC 2046, 5.1.1
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 16 * 1024  # file names of 10 KB are seen; they are never used
SPOOL_BYTES = 1024 * 1024  # a larger file waits on the disk for the rest of it


Spooled = SpooledTemporaryFile[bytes]


@dataclass(frozen=True)
class FileRules:
    """Which parts of a form are its files."""

    names: tuple[str, ...]
    """Of the parts; the first one is ours, others are those of known clients. Other files are ignored."""
    max_bytes: int
    """Size of the largest file."""
    max_count: int = 1
    keeps_large: bool = False
    """A larger file is not a reason to refuse the form: it is marked, and its bytes are thrown away."""


@dataclass
class Part:
    """One part of the body while it is read."""

    name: str = ""
    file: Spooled | None = None
    is_ignored: bool = False
    text: bytearray = field(default_factory=bytearray)
    size: int = 0
    is_too_large: bool = False

    def content(self) -> bytes:
        """The bytes of a file."""
        assert self.file is not None  # noqa: S101
        self.file.seek(0)
        return self.file.read()


@dataclass
class Form:
    """What a form holds. Close it, and its files are gone from the disk."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[Part] = field(default_factory=list)
    repeated: dict[str, list[str]] = field(default_factory=dict)
    """All values of the fields that came more than once; `fields` has their last one."""

    def close(self) -> None:
        """Delete what was spooled."""
        for part in self.files:
            with suppress(OSError):  # what could not be written cannot be written at the end either
                if part.file:
                    part.file.close()

    def require_file(self, name: str) -> Part:
        """The form's first file.

        Raises:
            FileRequired: there is none, or it has no name, as browsers send it when none was chosen.
        """
        if not self.files:
            raise FileRequired(f"send the image as a file part named `{name}`", param=name)
        return self.files[0]


async def read_part(part: Part) -> bytes:
    """The bytes of a file.

    Raises:
        StorageFull: what was spooled cannot be read.
    """
    with _raise_storage_full():
        return await asyncio.to_thread(part.content) if part.size > SPOOL_BYTES else part.content()


async def read_form(content_type: str, body: AsyncIterator[bytes], rules: FileRules) -> Form:
    """Read a body to its end.

    Args:
        content_type: the request's header, with the boundary.
        body: the request's bytes as they come.
        rules: which parts are files, and how large they may be.

    Raises:
        MalformedMultipart, MultipartLimits: the body breaks the format or its limits.
        TooManyFiles, PayloadTooLarge: a file more than the rules allow, or one that is too large.
        InvalidText: a field is not UTF-8.
        StorageFull: there is no room for the file.
    """
    reader = _Reader(_read_boundary(content_type), rules)
    try:
        async for chunk in body:
            await reader.feed(chunk)
        if not reader.has_ended:
            raise MalformedMultipart("the body ends before its final boundary")
    except BaseException:
        reader.form.close()
        raise
    return reader.form


def _read_boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not 0 < len(boundary) <= MAX_BOUNDARY_CHARS:
        raise MalformedMultipart(f"the boundary is missing or longer than {MAX_BOUNDARY_CHARS} characters")
    return boundary


class _Reader:
    """Collects what python-multipart's parser finds."""

    def __init__(self, boundary: bytes, rules: FileRules) -> None:
        callbacks: Any = {
            name: getattr(self, name)
            for name in (
                "on_part_begin", "on_part_data", "on_part_end", "on_header_field", "on_header_value",
                "on_header_end", "on_headers_finished", "on_end",
            )
        }  # fmt: skip
        self._parser = MultipartParser(
            boundary, callbacks, max_header_count=MAX_PART_HEADERS, max_header_size=MAX_PART_HEADER_BYTES
        )
        self._delimiter = b"\r\n--" + boundary
        self._preamble: bytes | None = b"\r\n"  # as if a line ended before the body; None behind the first boundary
        self._rules = rules
        self._parts = 0
        self._part = Part()
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._unwritten: list[tuple[Spooled, bytes]] = []
        self.form = Form()
        self.has_ended = False

    async def feed(self, chunk: bytes) -> None:
        """Take more of the body."""
        try:
            self._parser.write(self._strip_preamble(chunk))
        except FormParserError as error:
            if str(error).startswith("Maximum header"):
                raise MultipartLimits(
                    f"at most {MAX_PART_HEADERS} headers of {MAX_PART_HEADER_BYTES} bytes in a part"
                ) from None
            raise MalformedMultipart("the multipart body cannot be read") from None
        unwritten, self._unwritten = self._unwritten, []
        with _raise_storage_full():
            if self._part.size > SPOOL_BYTES:
                await asyncio.to_thread(_write_all, unwritten)
            else:
                _write_all(unwritten)

    def _strip_preamble(self, chunk: bytes) -> bytes:
        """What stands in front of the first boundary means nothing (RFC 2046, 5.1.1)."""
        if self._preamble is None:
            return chunk
        start = (self._preamble + chunk).find(self._delimiter)
        if start < 0:
            self._preamble = (self._preamble + chunk)[-len(self._delimiter) :]
            return b""
        body, self._preamble = (self._preamble + chunk)[start + 2 :], None
        return body

    def on_part_begin(self) -> None:
        self._parts += 1
        limit = MAX_PARTS + self._rules.max_count - 1
        if self._parts > limit:
            raise MultipartLimits(f"at most {limit} parts")
        self._part = Part()
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header[0].extend(data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header[1].extend(data[start:end])

    def on_header_end(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._disposition)[1]
        if b"name" not in options:
            raise MalformedMultipart("a part has no name")
        self._part.name = options[b"name"].decode("utf-8", "replace")
        if b"filename" in options:
            self._begin_file(has_name=bool(options[b"filename"]))

    def _begin_file(self, *, has_name: bool) -> None:
        if self._part.name not in self._rules.names or not has_name:
            self._part.is_ignored = True
            return
        if len(self.form.files) == self._rules.max_count:
            count = self._rules.max_count
            raise TooManyFiles("send one file" if count == 1 else f"send at most {count} files", param=self._part.name)
        self._part.file = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115  (the form closes it)
        self.form.files.append(self._part)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        if part.is_ignored:
            return
        if part.file is not None:
            if part.size > self._rules.max_bytes:
                if not self._rules.keeps_large:
                    raise too_large(self._rules.max_bytes)
                part.is_too_large = True
                return
            self._unwritten.append((part.file, data[start:end]))
        else:
            if part.size > MAX_FIELD_BYTES:
                raise MultipartLimits(f"at most {MAX_FIELD_BYTES} bytes in a field")
            part.text.extend(data[start:end])

    def on_part_end(self) -> None:
        part = self._part
        if part.file is None and not part.is_ignored:
            try:
                text = part.text.decode("utf-8")
            except UnicodeDecodeError:
                raise InvalidText("a form field is not UTF-8") from None
            if part.name in self.form.fields:
                self.form.repeated.setdefault(part.name, [self.form.fields[part.name]]).append(text)
            self.form.fields[part.name] = text

    def on_end(self) -> None:
        self.has_ended = True


def _write_all(unwritten: list[tuple[Spooled, bytes]]) -> None:
    for file, data in unwritten:
        file.write(data)


@contextmanager
def _raise_storage_full() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise StorageFull("the temporary folder has no space for the upload") from None
