"""A hub on this machine, which answers as the real one does, or as nobody should."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


def send(
    handler: http.server.BaseHTTPRequestHandler, content: bytes, status: int = 200, **headers: str
) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(content)


def hangs_up(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(2)


def shows_a_page(handler: http.server.BaseHTTPRequestHandler) -> None:
    """The login of a hotel's network."""
    send(handler, b"<html>", Content_Type="text/html")


def says_little(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"{}", Content_Type="application/json")


def breaks(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"", 500)


def is_gated(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"", 403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")


def does_not_know(handler: http.server.BaseHTTPRequestHandler) -> None:
    send(handler, b"", 404, X_Error_Code="RepoNotFound")


def serving(folder: Path, sent: list[str]) -> Answer:
    """A repository with the files of a folder; names of files go to `sent` as they are fetched."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        path = handler.path.partition("?")[0]
        if "/resolve/" in path:
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            if handler.command == "GET":
                sent.append(name)
            content = (folder / name).read_bytes()
            send(handler, content, ETag=f'"{name.replace("/", "-")}"', X_Repo_Commit=COMMIT)
            return
        about: object = {"id": "acme/tiny", "sha": COMMIT, "siblings": [], "private": False}
        if "/tree/" in path:
            about = [
                {"type": "file", "path": n, "size": (folder / n).stat().st_size, "oid": "0"}
                for n in files
            ]
        send(handler, json.dumps(about).encode(), Content_Type="application/json")

    return answer


@contextmanager
def hub(answer: Answer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the hub's client ask a server of this process, and keep files in `cache`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:  # pyright: ignore
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    with monkeypatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        _point(patch, address, cache)
        try:
            yield address
        finally:
            server.shutdown()
            server.server_close()
            close_session()


@contextmanager
def refusing_proxy(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A hub that is only reached through a proxy, which lets nobody through."""
    with (
        hub(lambda handler: send(handler, b"", 403), cache, monkeypatch) as address,
        monkeypatch.context() as patch,
    ):
        for name in ("HTTPS_PROXY", "https_proxy"):
            patch.setenv(name, address)
        _point(patch, "https://hub.invalid", cache)
        yield


def _point(patch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "ENDPOINT", endpoint)
    patch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    close_session()


def cached(model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, listed: list[str]) -> Path:
    """The hub's own cache of a model; of a release that keeps a list of the files, if `listed`."""
    repository = cache / "models--acme--tiny"
    snapshot = Path(shutil.copytree(model, repository / "snapshots" / COMMIT))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    if listed:
        files = {name: {"size": 1, "blob_id": "0" * 40} for name in listed}
        (repository / "trees").mkdir()
        tree = {"format_version": 1, "files": files}
        (repository / "trees" / f"{COMMIT}.json").write_text(json.dumps(tree))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return snapshot
