"""Serving the page on this machine: what reaches it, and what its browser may load."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from zsl.errors import InputError, require
from zsl.inference.tagger import Tagger
from zsl.notes import waiting

MAX_UPLOAD = "50mb"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# Gradio's page makes functions of the scripts of its components ("unsafe-eval").
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def open_socket(host: str, port: int) -> socket.socket:
    """Takes the address before anything slow is done.

    Raises:
        InputError: It is in use, or not one of this machine.
    """
    require(0 <= port <= 65535, f"--port is {port}; expected 0 to 65535.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        taken = socket.socket(family, kind, protocol)
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen()  # A visitor who comes early waits.
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"The page can't be served at {host}, port {port} ({reason}); name another --port, or "
            "another --host."
        ) from error
    return taken


class Guard:
    """Lets only pages of this server ask it, and these load from it alone.

    A site that is open in the same browser could else have folders read or sidecars written: by a
    request of its own, or by a name of its own that leads to this machine.

    Args:
        app: What is guarded.
        hosts: Names by which the server may be asked; None for any.
    """

    def __init__(self, app: Any, hosts: Sequence[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if scope["type"] == "websocket" or not self._is_allowed(asked):
            await _refuse(scope, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                pairs = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *pairs]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _is_allowed(self, asked: Mapping[str, str]) -> bool:
        host = asked.get("host", "")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            return False
        origin = asked.get("origin")
        return origin is None or urlsplit(origin).netloc == host


async def _refuse(scope: Message, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    body = b"This page answers only to itself, at the address that zsl.demo printed."
    await send({"type": "http.response.body", "body": body})


def make_app(
    taggers: Mapping[str, Tagger],
    roots: Sequence[Path],
    host: str,
    uploads: Path,
    index: Path | None = None,
) -> Any:
    """Makes the page and what guards it, as an ASGI application.

    Args:
        taggers: One or two, by the names that are shown.
        roots: Folders whose images a visitor may open.
        host: Address it is served at. Sidecars are written only where it is a loopback one.
        uploads: Folder of uploaded images, which Gradio has of its environment.
        index: Folder that keeps what is made of images of folders; None keeps it in memory.
    """
    import fastapi
    import gradio as gr

    from zsl.demo_page.page import FOLDER, Page

    local = is_loopback(host)
    page = Page(taggers, roots, can_write=local, uploads=uploads, index=index)
    # Else Gradio takes any file that a request names for one that was uploaded, and serves it: a
    # page that is mounted, rather than launched, it does not check.
    page.blocks.has_launched = True
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        page.blocks,
        path="",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=MAX_UPLOAD,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=_theme(),
        # In the head, since Gradio would have it apply within its own frame only.
        head=f"<style>{(FOLDER / 'page.css').read_text(encoding='utf-8')}</style>",
    )
    return Guard(app, (*_LOOPBACK_NAMES, host) if local else None)


def _theme() -> Any:
    """Fonts of the system, where Gradio's themes load theirs; small print that can be read."""
    import gradio as gr

    theme = gr.themes.Base(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_800",
        input_placeholder_color="*neutral_500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
    )


def serve(
    taggers: Mapping[str, Tagger],
    roots: Sequence[Path],
    host: str,
    at: socket.socket,
    index: Path | None = None,
) -> None:
    """Serves the page until it is stopped; uploads are removed in the end.

    Args:
        taggers: One or two, by the names that are shown.
        roots: Folders whose images a visitor may open.
        host: Address, as given.
        at: Socket that is bound to it.
        index: Folder that keeps what is made of images of folders; None keeps it in memory.
    """
    with tempfile.TemporaryDirectory(prefix="zsl-demo-") as folder:
        # Read when Gradio is imported or makes a component.
        os.environ |= {
            "GRADIO_TEMP_DIR": folder,
            "GRADIO_ANALYTICS_ENABLED": "False",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        with waiting("making the page"):
            import uvicorn

            app = make_app(taggers, roots, host, Path(folder), index)
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{at.getsockname()[1]}/ (Ctrl-C stops it)", flush=True)
        # A tab that is open holds a connection; that it is cut off is not worth a traceback.
        config = uvicorn.Config(
            app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        logging.getLogger("uvicorn.error").addFilter(lambda _: not server.should_exit)
        server.run(sockets=[at])
