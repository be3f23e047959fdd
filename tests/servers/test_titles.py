"""What an application is called that nobody has named: what its server was told to serve, on every server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.rawclient import connect_rbkit
from support.servers import ALL, TOKEN, UNSUPPORTED, WebServer

from rbkit_websocket.protocol.messages import decode_answer

TITLES = {
    "gunicorn-gevent": "support.apps:plain()",
    "gunicorn-gthread": "support.apps:plain()",
    "gunicorn-sync": "support.apps:plain()",
    "flask-run": "support.apps:flask",
    "runserver": "support.djangosite",
    "uwsgi": "support.apps:plain()",
    "waitress": "support.apps:plain",
    "pywsgi": "support.serve",
    "cheroot": "support.serve",
}


def listing(web: WebServer, mount: str = "") -> dict[str, Any]:
    return json.loads(web.get(f"{mount}/__rbkit__/servers", headers={"Authorization": f"Bearer {TOKEN}"}))


def application(web: WebServer, mount: str = "") -> str:
    """What the handshake says."""
    with connect_rbkit(web.url(f"{mount}/"), token=TOKEN) as client:
        answer = decode_answer(client.command("handshake"))
    assert isinstance(answer, dict)
    return answer["payload"]["application"]


@pytest.mark.parametrize("server", TITLES)
def test_an_application_without_a_name_is_called_what_was_started(server: str) -> None:
    app = "flask" if server == "flask-run" else "plain"
    with {**ALL, **UNSUPPORTED}[server](app, env={"RBKIT_NAME": None}) as web:
        found = listing(web)
        assert found["application"] == TITLES[server]
        assert [entry["application"] for entry in found["servers"]] == [TITLES[server]]
        if server in ALL:
            assert application(web) == TITLES[server]


@pytest.mark.parametrize(
    ("settings", "title"),
    [("wsgi_app = 'support.apps:plain()'", "support.apps:plain()"), ("proc_name = 'shop'", "shop")],
    ids=["wsgi_app", "proc_name"],
)
def test_gunicorns_settings_name_it_too(tmp_path: Path, settings: str, title: str) -> None:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(settings)
    with ALL["gunicorn-gevent"]("plain", env={"RBKIT_NAME": None}, options=["--config", str(config)]) as web:
        assert listing(web)["application"] == application(web) == title


def test_list_and_handshake_agree_where_two_applications_share_a_process() -> None:
    with ALL["pywsgi"]("two", env={"RBKIT_NAME": None}) as web:
        assert application(web, "/aa") == "aa"
        assert application(web, "/bb") == "aa, bb"
        for name in ("aa", "bb"):
            found = listing(web, f"/{name}")
            assert found["application"] == name
            assert [entry["application"] for entry in found["servers"]] == [application(web, f"/{name}")] == ["aa, bb"]
