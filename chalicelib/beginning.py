"""When a stage began to listen: nobody is notified of what happened before, however it is learnt.

Filling in an API key has weeks of old events found: they are recorded, and no customer gets a receipt again.
"""

from chalicelib.ledger import Ledger

NOTED = "stage"
GRACE = 3_600_000  # milliseconds before that count as after: what was on its way, or has just got lost
ALWAYS = 0


def began(ledger: Ledger, now: int) -> int:
    """The instant from which on handlers are notified, in milliseconds; noted by whoever asks first.

    A stage that was there before this was noted has always listened.
    """
    noted = ledger.checkpoints.checkpoint(NOTED)
    if not noted:
        is_older = bool(ledger.days("0000-00-00", "9999-99-99"))
        first = {"began_at": ALWAYS if is_older else now - GRACE}
        noted = ledger.checkpoints.note_first(NOTED, first)
    return int(noted["began_at"])
