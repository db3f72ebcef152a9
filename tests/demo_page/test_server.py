"""What reaches the page, and what its command refuses."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from zsl.commands import demo as command
from zsl.commands.demo import main as demo
from zsl.commands.demo import named
from zsl.demo_page.server import Guard, is_loopback, open_socket
from zsl.errors import InputError

LOCAL = ("localhost", "127.0.0.1", "::1")


def answered(
    hosts: Sequence[str] | None, kind: str = "http", **headers: str
) -> tuple[int, dict[str, str]]:
    """Status and headers of a guarded application's answer."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1")]})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app, hosts)({"type": kind, "headers": pairs}, app, send))  # type: ignore
    found = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
    return sent[0].get("status", sent[0].get("code")), found


def test_only_the_page_itself_may_ask() -> None:
    for host in ("127.0.0.1:7860", "localhost:7860", "[::1]:7860", "localhost"):
        assert answered(LOCAL, host=host)[0] == 200
        assert answered(LOCAL, host=host, origin=f"http://{host}")[0] == 200
        assert answered(LOCAL, host=host, origin="http://evil.example")[0] == 403
        assert answered(LOCAL, host=host, origin="null")[0] == 403
    # A name of another site's that leads to this machine.
    assert answered(LOCAL, host="evil.example:7860", origin="http://evil.example:7860")[0] == 403
    assert answered(LOCAL, host="evil.example")[0] == 403
    assert answered(LOCAL)[0] == 403
    assert answered(LOCAL, kind="websocket", host="127.0.0.1:7860")[0] == 1008
    assert answered(None, host="my-desk:7860", origin="http://my-desk:7860")[0] == 200
    assert answered(None, host="my-desk:7860", origin="http://evil.example")[0] == 403


def test_answers_tell_the_browser_to_load_nothing_else() -> None:
    headers = answered(LOCAL, host="127.0.0.1:7860")[1]
    assert headers["x"] == "1"
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "http" not in headers["content-security-policy"]


def test_loopback_addresses() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.0.2", "my-desk", ""))


def test_a_port_in_use_is_told() -> None:
    with open_socket("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"127\.0\.0\.1, port {port} \(Address already in"):
            open_socket("127.0.0.1", port)
    with pytest.raises(InputError, match="--port is 70000; expected 0 to 65535"):
        open_socket("127.0.0.1", 70000)
    with pytest.raises(InputError, match="name another --port, or another --host"):
        open_socket("no such host", 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint=none.ckpt"], "none.ckpt"),
        (["--checkpoint", "a", "b", "c"], "--checkpoint names 3 checkpoints; expected one, or two"),
        (["--checkpoint=a", "--folder=nowhere"], "The folder nowhere does not exist"),
        (["--checkpoint=a", "--port=-1"], "--port is -1; expected 0 to 65535"),
        (["--checkpoint=a", "--host=999.1.1.1"], "can't be served at 999.1.1.1"),
    ],
)
def test_one_sentence_for_each_mistake(
    in_tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo([*arguments, *([] if "--port=-1" in arguments else ["--port=0"])]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert demo(["--checkpoint=a"]) == 2
    assert "pip install gradio" in capsys.readouterr().err


def test_checkpoints_are_named_by_their_runs() -> None:
    first, second = (f"runs/table/{number}/checkpoints/best.ckpt" for number in (1, 2))
    assert named([first]) == {"table/1": first}
    assert named([first, second]) == {"A: table/1": first, "B: table/2": second}
    assert named(["my-tagger", "my-tagger"]) == {"A: my-tagger": "my-tagger"} | {
        "B: my-tagger": "my-tagger"
    }
