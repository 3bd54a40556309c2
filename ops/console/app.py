"""The console: who may ask for a page, and who may change something through one."""

import hmac

from botocore.exceptions import BotoCoreError, ClientError
from flask import Flask, Response, abort, render_template, request
from werkzeug.exceptions import HTTPException

from chalicelib import money
from chalicelib.errors import AwsError, Refused
from chalicelib.payments import STATES
from chalicelib.providers import PROVIDERS
from chalicelib.times import to_iso
from ops.console.pages import Reading, Writing
from ops.console.session import Console

STATUSES = ("disputed", "charged_back", "refunded", "partially_refunded", "succeeded", *reversed(STATES))
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
    app.jinja_env.globals.update(
        stage=console.stage.name,
        token=console.token,
        may_write=console.may_write,
        can_send=console.sender is not None,
        amount=lambda value, currency: money.display(value, currency or ""),
        instant=to_iso,
        statuses=STATUSES,
        providers=list(PROVIDERS),
    )
    app.before_request(lambda: _guard(console))
    app.after_request(_harden)
    _answer_errors(app)
    Reading(console).on(app)
    Writing(console).on(app)
    return app


def _guard(console: Console) -> None:
    """Only this console's own pages may write, and only under its own name: others may be rebound to us."""
    own = {f"127.0.0.1:{console.port}", f"localhost:{console.port}"}
    if request.host not in own:
        abort(403, "this console answers to 127.0.0.1 only")
    if request.method in ("GET", "HEAD"):
        return
    origin = request.headers.get("Origin", "")
    if origin.removeprefix("http://") not in own:
        abort(403, "this came from another page")
    given = request.form.get("token", "")
    if not hmac.compare_digest(given.encode(), console.token.encode()):
        abort(403, "this form is not from this console: go back, reload the page, and try again")
    if not console.may_write:
        abort(403, f"stage {console.stage.name} is read-only here: start the console with --allow-writes")


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
