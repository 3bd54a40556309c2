"""Where milestones are sent beside handlers: to an HTTPS endpoint, an SQS FIFO queue, a Slack channel.

Each is one of a stage's settings, under its name: where to, which types, and what it waits for::

    DAYBOOK_TARGET_WAREHOUSE  https://warehouse.example.com/hook payment.* needs=reference
    DAYBOOK_TARGET_BOOKS      arn:aws:sqs:eu-central-1:123456789012:books.fifo
    DAYBOOK_TARGET_DISPUTES   slack dispute.opened dispute.lost

Without types it is all milestones. What is secret of one is in the stage's secret, as ``target_warehouse``:
the signing secrets of an endpoint (``whsec_…``), the address of a Slack channel's incoming webhook.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from chalicelib.errors import InvalidSetting
from chalicelib.reactions import KINDS, check

PREFIX = "DAYBOOK_TARGET_"
NAME = re.compile(r"[A-Z][A-Z0-9_]{0,30}")
HTTPS, SQS, SLACK = "https", "sqs", "slack"
QUEUE = re.compile(r"arn:[a-z-]+:sqs:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,75}\.fifo")
MILESTONES = tuple(f"{kind}*" for kind in KINDS)
NEEDS = "needs="
PLAIN = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")  # host and port
LOOPBACK = ("127.0.0.1", "localhost")
KINDS_OF = "an https:// address, the ARN of an SQS queue that ends with .fifo, or slack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """``address``: a URL, a queue's ARN; empty for a Slack channel, whose address is a secret.

    ``patterns`` and ``needs`` as a handler has them.
    """

    name: str
    kind: str
    address: str
    patterns: tuple[str, ...]
    needs: str | None = None

    @property
    def handler_name(self) -> str:
        """No function is called so."""
        return f"target:{self.name}"

    @property
    def secret_name(self) -> str:
        """Of what is secret of it, in the stage's secret."""
        return f"target_{self.name}"


def targets(environ: Mapping[str, str], is_local: bool) -> tuple[Target, ...]:
    """All that the environment names. Raises ``InvalidSetting``.

    ``is_local``: an endpoint may be on this machine, and without TLS.
    """
    names = sorted(name for name in environ if name.startswith(PREFIX) and environ[name].strip())
    return tuple(_target(name, environ[name].split(), is_local) for name in names)


def _target(setting: str, words: list[str], is_local: bool) -> Target:
    name = setting.removeprefix(PREFIX)
    if not NAME.fullmatch(name):
        raise InvalidSetting(f"{setting}: a target's name is of A-Z, 0-9 and _, a letter first")
    address, *others = words
    needs = [each.removeprefix(NEEDS) for each in others if each.startswith(NEEDS)]
    patterns = tuple(each for each in others if not each.startswith(NEEDS))
    try:
        if any(word.endswith((",", ";")) for word in words):
            raise ValueError("spaces alone are between its words")
        kind = _kind(address, is_local)
        if len(needs) > 1:
            raise ValueError("it can need one thing")
        needed = needs[0] if needs else None
        patterns = patterns or _all(needed)
        for pattern in patterns:
            if "/" in pattern:  # it may be a secret
                raise ValueError("an address comes first, and a Slack channel's goes into the secret")
            check(pattern, needed)
    except ValueError as error:
        raise InvalidSetting(f"{setting}: {error}") from None
    return Target(
        name=name.lower(),
        kind=kind,
        address="" if kind == SLACK else address,
        patterns=patterns,
        needs=needed,
    )


def _all(needed: str | None) -> tuple[str, ...]:
    """All milestones; of those that have what is needed, which a payout never does."""
    return tuple(each for each in MILESTONES if not (needed and each.startswith("payout.")))


def _kind(address: str, is_local: bool) -> str:
    if address == SLACK:
        return SLACK
    if QUEUE.fullmatch(address):
        return SQS
    if is_address(address, is_local):
        return HTTPS
    raise ValueError(f"its first word has to be {KINDS_OF}")


def is_address(url: str, is_local: bool) -> bool:
    """Whether something may be sent there, as far as its text says: ``posting.py`` looks at where it leads.

    Nobody's name and password are part of it; a name in other letters is written as DNS has it (``xn--…``).
    """
    try:
        parts = urlsplit(url)
        is_plain = PLAIN.fullmatch(parts.netloc) is not None and parts.port != 0
    except ValueError:
        return False
    is_here = is_local and parts.scheme == "http" and parts.hostname in LOOPBACK
    return is_plain and (parts.scheme == "https" or is_here)
