"""Reaching a stage: its AWS clients and names, by the environment's credentials or the local emulator's."""

import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

from chalicelib import settings
from chalicelib.aws import Aws, Caller, keys_of
from chalicelib.credentials import Credentials, FixedCredentials, SecretsManagerCredentials
from chalicelib.errors import InvalidSetting
from chalicelib.inbox import Inbox
from chalicelib.ledger import Ledger
from chalicelib.names import Names, names
from chalicelib.settings import STAGE_LOCAL, Settings
from chalicelib.wakeups import Wakeups
from ops.by_boto3 import ByBoto3

CONFIG = Path(__file__).resolve().parents[1] / ".chalice" / "config.json"
REGION = "us-east-1"
PORT = 8000
CONSOLE_PORT = 8001
PAYPAL_PORT = 8002
AWS_PORT = 8003
LOCAL_STRIPE_SECRET = "whsec_local"  # noqa: S105 - the documented default of stage local
LOCAL_WEBHOOK_ID = "LOCAL00000000001"


@dataclass(frozen=True, slots=True)
class Stage:
    """One deployed (or local) Daybook, as seen from a person's machine."""

    name: str
    session: boto3.Session
    endpoint: str | None

    def client(self, service: str) -> Any:
        config = Config(proxies={}) if self.name == STAGE_LOCAL else None  # loopback needs no proxy
        return self.session.client(  # type: ignore[call-overload]
            service, endpoint_url=self.endpoint, config=config
        )

    @property
    def names(self) -> Names:
        """What its parts are called; a stage's configuration can say otherwise."""
        return names(self.name, self.config.get("environment_variables", {}))

    def aws(self) -> Caller:
        """AWS as this machine reaches it, with this person's credentials; the emulator as the app does."""
        found: Any = self.session.get_credentials()
        if found is None:
            raise NoCredentialsError
        if self.name != STAGE_LOCAL:
            return ByBoto3(self.client)
        return Aws(REGION, keys_of(found), self.endpoint, time.sleep, random.uniform)

    @property
    def config(self) -> dict[str, Any]:
        """What Chalice's configuration in this checkout says of it; empty where it says nothing."""
        found: dict[str, Any] = json.loads(CONFIG.read_text())["stages"].get(self.name, {})
        return found

    def settings(self, environ: Mapping[str, str]) -> Settings:
        """What its functions are configured with, by this checkout: its own where it is deployed.

        Which handlers are run on this machine is this machine's say.
        """
        if self.name == STAGE_LOCAL:
            return settings.read({**environ, "DAYBOOK_STAGE": self.name})
        here = {name: environ[name] for name in ("DAYBOOK_HANDLERS",) if name in environ}
        configured = self.config.get("environment_variables", {})
        return settings.read({"DAYBOOK_STAGE": self.name, **configured, **here})

    def ledger(self) -> Ledger:
        return Ledger(self.aws(), self.names.table, shards=self.settings(os.environ).shards)

    def inbox(self) -> Inbox:
        return Inbox(self.aws(), self.names.queue)

    def wakeups(self) -> Wakeups:
        return Wakeups(self.aws(), self.names.targets_queue)

    def credentials(self, environ: Mapping[str, str], clock: Callable[[], int]) -> Credentials:
        """The stage's secrets, as its functions read them."""
        if self.name == STAGE_LOCAL:
            return FixedCredentials(self.settings(environ).local_credentials)
        return SecretsManagerCredentials(self.aws(), self.names.secret, clock)


def port(environ: Mapping[str, str], name: str, default: int) -> int:
    """A port from the environment. Raises ``InvalidSetting`` that names the variable."""
    text = environ.get(name, str(default))
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise InvalidSetting(f"{name} is not a port: {text}")
    return int(text)


def local_aws(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that points any AWS client at the local emulator."""
    address = f"http://127.0.0.1:{port(environ, 'AWS_PORT', AWS_PORT)}"
    return {
        "AWS_ENDPOINT_URL": environ.get("AWS_ENDPOINT_URL", address),
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_SESSION_TOKEN": "local",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
    }


def connect(name: str, environ: Mapping[str, str]) -> Stage:
    """The stage of that name: ``local`` on the emulator, any other with the usual AWS credentials."""
    if name != STAGE_LOCAL:
        return Stage(name, boto3.Session(), environ.get("AWS_ENDPOINT_URL") or None)
    local = local_aws(environ)
    unprofiled = botocore.session.Session({"profile": (None, None, None, None)})  # whatever AWS_PROFILE says
    session = boto3.Session(
        botocore_session=unprofiled,
        aws_access_key_id=local["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=local["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=local["AWS_SESSION_TOKEN"],
        region_name=REGION,
    )
    return Stage(name, session, local["AWS_ENDPOINT_URL"])
