"""What handlers must have been notified of in the end."""

from collections import Counter

from tests.fakes import SAID_BY_STATUS
from tests.simulators import Simulator


def wanted_of(model: Simulator) -> Counter[str]:
    """What handlers must have been notified of in the end: what holds, and what the status says."""
    said = SAID_BY_STATUS.get(model.status)
    return model.must_be_notified | Counter([said] if said else [])
