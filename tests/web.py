"""A web server of a test's own, with the manners that a test asks for."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Page:
    """A file on the server, and how the server behaves about it."""

    data: bytes
    ranges: bool = True
    etag: bool = True
    weak: bool = False
    last_modified: bool = False
    length: bool = True  # says how long the file is
    bad_range: str = ""  # how it answers for a range: see `_bad_range`
    always_breaks: int | None = None  # bytes after which every answer breaks off
    breaks: list[int] = field(default_factory=list)  # bytes after which each of the next answers breaks off
    errors: list[int] = field(default_factory=list)  # codes of the next answers
    pause_s: list[float] = field(default_factory=list)  # silence in the middle of each of the next answers
    drip: tuple[int, float] | None = None  # bytes at once, and the pause after them
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def tag(self) -> str:
        return ("W/" if self.weak else "") + f'"{hashlib.sha256(self.data).hexdigest()[:16]}"'

    def validators(self) -> dict[str, str]:
        day = 1 + self.data[0] % 28 if self.data else 1
        tag = {"ETag": self.tag} if self.etag else {}
        return tag | ({"Last-Modified": f"Mon, {day:02} Jan 2023 00:00:00 GMT"} if self.last_modified else {})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:  # noqa: N802 - the standard library's name
        self.close_connection = True
        page = self.server.pages.get(self.path)
        if page is None:
            return self.send_error(404)
        page.requests.append(dict(self.headers))
        if page.errors:
            return self.send_error(page.errors.pop(0))
        start, headers = 0, page.validators()
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and page.bad_range:
            return self._bad_range(page, int(asked[1]))
        if asked and page.ranges and self.headers.get("If-Range", "") in ("", *headers.values()):
            start = int(asked[1])
            if start >= len(page.data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(page.data)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(page.data) - 1}/{len(page.data)}")
        else:
            self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        if page.length:
            self.send_header("Content-Length", str(len(page.data) - start))
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(page, page.data[start:])

    def _bad_range(self, page: Page, start: int) -> None:
        """A range as no server should answer for it."""
        size, headers = len(page.data), page.validators()
        said, body = f"bytes {start}-{size - 1}/{size}", page.data[start:]
        if page.bad_range == "refused":
            self.send_response(416)
            headers, body = headers | {"Content-Length": "0"}, b""
        else:
            self.send_response(206)
            headers |= {
                "wrong start": {"Content-Range": f"bytes {start - 1}-{size - 1}/{size}"},
                "other total": {"Content-Range": f"bytes {start}-{size - 1}/{size + 7}"},
                "no Content-Range": {},
                "no number": {"Content-Range": f"bytes {'9' * 5000}-{size - 1}/{'9' * 5000}"},
                "other ETag": {"Content-Range": said, "ETag": f'"{len(page.requests)}"'},
                "longer": {"Content-Range": said, "Content-Length": str(len(body) + 10)},
                "nothing": {"Content-Range": said},
                "one byte": {"Content-Range": said},
            }[page.bad_range]
            body = {"longer": body + b"x" * 10, "nothing": b"", "one byte": body[:1]}.get(page.bad_range, body)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(page, body)

    def _send(self, page: Page, body: bytes) -> None:
        if page.always_breaks is not None:
            body = body[: page.always_breaks]
        if page.breaks:
            body = body[: page.breaks.pop(0)]
        with contextlib.suppress(OSError):
            if page.pause_s:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                time.sleep(page.pause_s.pop(0))
                body = body[len(body) // 2 :]
            size, pause = page.drip or (len(body) or 1, 0.0)
            for k in range(0, len(body), size):
                self.wfile.write(body[k : k + size])
                self.wfile.flush()
                time.sleep(pause)

    def log_message(self, *words: object) -> None:
        pass


@contextlib.contextmanager
def serving(**pages: Page) -> Iterator[str]:
    """The address of a server that has these pages at /name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.pages = {f"/{name}": page for name, page in pages.items()}
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
