"""A handler that fails while ``WAREHOUSE`` names a file that is there: a drill's."""

import os
from pathlib import Path

from chalicelib.payments import Milestone, Payment
from chalicelib.reactions import on


@on("payment.succeeded")
def reserve(payment: Payment, milestone: Milestone) -> None:
    if Path(os.environ["WAREHOUSE"]).exists():
        raise ConnectionError
