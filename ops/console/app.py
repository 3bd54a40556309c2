"""The console: who may ask for a page, and who may change something through one."""

import hmac
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError
from flask import Flask, Response, abort, redirect, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter
from werkzeug.wrappers import Response as BaseResponse

from chalicelib.errors import AwsError, Refused
from chalicelib.payments.books import STATUSES
from chalicelib.payouts import STATUSES as PAYOUT_STATUSES
from chalicelib.providers import PROVIDERS
from chalicelib.subscriptions.standing import STATUSES as SUBSCRIPTION_STATUSES
from chalicelib.times import to_iso
from ops.commands.looking import age
from ops.commands.subscribing import sold
from ops.console import figures
from ops.console.bookkeeping import Bookkeeping, Books
from ops.console.pages import Reading, Writing
from ops.console.session import Console
from ops.console.set_aside import Aside

LET_IN = "daybook.let_in"
OPEN = ("static", "login")  # what everybody may ask for
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_app(console: Console) -> Flask:
    """The pages of one console."""
    app = Flask(__name__)
    app.url_map.converters |= {"id": AnyId, "subject": Subject}
    app.jinja_env.globals.update(
        stage=console.stage.name,
        token=console.token,
        may_write=console.may_write,
        can_send=console.sender is not None,
        amount=figures.amount,
        number=figures.number,
        instant=to_iso,
        age=age,
        statuses=STATUSES,
        subscription_statuses=SUBSCRIPTION_STATUSES,
        payout_statuses=PAYOUT_STATUSES,
        sold=sold,
        providers=list(PROVIDERS),
    )
    app.before_request(lambda: _guard(console))
    app.after_request(_harden)
    app.add_url_rule("/login", "login", lambda: _log_in(console))
    _answer_errors(app)
    Reading(console).on(app)
    Writing(console).on(app)
    Aside(console).on(app)
    Bookkeeping(console, Books(console.stage.ledger, console.clock)).on(app)
    app.wsgi_app = Placed(app.wsgi_app, console)  # type: ignore[assignment]
    return app


class AnyId(BaseConverter):
    """Whatever a provider calls a thing, in one segment of a path: also ``a/b``, and ``..``."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        return value.replace("~2E", ".").replace("~2F", "/").replace("~7E", "~")

    def to_url(self, value: object) -> str:
        text = str(value).replace("~", "~7E").replace("/", "~2F")
        return quote(f"~2E{text[1:]}" if text in (".", "..") else text, safe="!$&'()*+,:;=@")


class Subject(AnyId):
    """At the end of a path, where a person may type it as it is."""

    regex = ".+"
    part_isolating = False


def _guard(console: Console) -> None:
    """Only this console's own name, only its own pages, only who was given its address.

    A name can be rebound to this machine, another page can send the browser here, others can use the machine.
    """
    own = {f"127.0.0.1:{console.port}", f"localhost:{console.port}"}
    if request.host not in own:
        abort(403, "this console answers to 127.0.0.1 only")
    if request.endpoint in OPEN:
        return
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        abort(403, "this came from another page: type the address yourself")
    if console.say and not request.environ.get(LET_IN):
        abort(401, "open the address that the console printed in its terminal: it lets one browser in")
    if request.method not in ("GET", "HEAD"):
        _guard_writing(console, own)


def _guard_writing(console: Console, own: set[str]) -> None:
    origin = request.headers.get("Origin", "")
    if origin.removeprefix("http://") not in own:
        abort(403, "this came from another page")
    given = request.form.get("token", "")
    if not hmac.compare_digest(given.encode(), console.token.encode()):
        abort(403, "this form is not from this console: go back, reload the page, and try again")
    if not console.may_write:
        abort(403, f"stage {console.stage.name} is read-only here: start the console with --allow-writes")


def _log_in(console: Console) -> BaseResponse:
    """Let this browser in, once for each address; the terminal says the next one."""
    place = console.let_in(request.args.get("key", ""))
    if place is None:
        abort(403, "this address was used already, or is not this console's: take the last one it printed")
    return redirect(f"{place}/")


class Placed:
    """The pages below a segment that only who was let in knows.

    A cookie would go to every port of this machine: a link to another person's server there would tell it.
    """

    def __init__(self, pages: Any, console: Console) -> None:
        self._pages, self._console = pages, console

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        place, _, path = environ["PATH_INFO"].removeprefix("/").partition("/")
        if self._console.is_place(place):
            environ |= {"SCRIPT_NAME": f"/{place}", "PATH_INFO": f"/{path}", LET_IN: True}
        return self._pages(environ, start)


def _harden(response: Response) -> Response:
    response.headers.update(HEADERS)
    return response


def _answer_errors(app: Flask) -> None:
    def page(status: int, message: str) -> tuple[str, int]:
        return render_template("error.html", status=status, message=message), status

    app.register_error_handler(HTTPException, lambda e: page(e.code or 500, str(e.description)))
    app.register_error_handler(Refused, lambda e: page(e.status if e.status < 500 else 502, str(e)))
    for kind in (AwsError, BotoCoreError, ClientError):
        app.register_error_handler(kind, lambda e: page(502, f"AWS: {e}"))
