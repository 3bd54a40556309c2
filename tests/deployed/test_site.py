"""The documentation as a site: it is built without a warning, its links hold, and it is searched."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from ops.cli import main
from tests.conftest import ROOT
from tests.deployed.test_console import CHROMIUM, FLAGS


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links |= {link for name in ("href", "src") if (link := given.get(name))}
        self.ids |= {given["id"] or ""} if "id" in given else set()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with every warning as an error."""
    out = tmp_path_factory.mktemp("site") / "docs"
    command = [sys.executable, "-m", "ops.site.build", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_no_link_leads_nowhere(site: Path) -> None:
    """Neither to a page or file that is not there, nor to a place in a page that it does not have."""
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 25
    broken, followed = [], 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            followed += 1
            is_there = to.is_file() and (
                not parts.fragment or to not in pages or _has(pages[to], parts.fragment)
            )
            if not is_there:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert followed > 1000
    assert broken == []


def _has(page: Page, fragment: str) -> bool:
    return unquote(fragment) in page.ids


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    """No script, style or picture: it can be read without a network."""
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert 'src="http' not in text
        assert 'rel="stylesheet" type="text/css" href="http' not in text


def test_it_has_every_route_command_and_schema(site: Path) -> None:
    """From the contract, the code's own help and the files."""
    api, commands, schemas = (
        (site / "docs" / f"{name}.html").read_text() for name in ("http-api", "commands", "schemas")
    )
    for path in yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text())["paths"]:
        assert path in api
    for name, command in main.commands.items():
        assert f"Usage: daybook {name}" in commands
        assert all(option.opts[0] in commands for option in command.params if option.opts[0].startswith("--"))
    for path in (ROOT / "docs" / "schemas" / "v1").glob("*.json"):
        schema = json.loads(path.read_text())
        assert schema["title"] in schemas
        assert all(f">{name}" in schemas for name in schema.get("properties", ()))


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no browser on this machine")
def test_it_is_searched_in_a_browser(address: str) -> None:
    """By a word, from the first page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(address)
        expect(page).to_have_title("Daybook 0.3.0")
        page.get_by_placeholder("Search").first.fill("redrive")
        page.keyboard.press("Enter")
        found = page.locator('#search-results li a[href*="runbook"]')
        expect(found.first).to_be_visible(timeout=15_000)
        browser.close()
