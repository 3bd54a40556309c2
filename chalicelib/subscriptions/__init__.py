"""The subscription: what its events prove, and whether there is access. Pure, as ``payments`` is.

events ─ provider ─→ facts.py ─ join ─→ order.py (which state is the last), paid.py (how far it is paid)
                                  ├─→ subscription.py: as it is shown, and its access at an instant
                                  └─→ milestones.py, news.py: what handlers are notified of
"""

from chalicelib.subscriptions.facts import RULES, Facts, fact, fold, join
from chalicelib.subscriptions.milestones import MILESTONES
from chalicelib.subscriptions.news import Change, change
from chalicelib.subscriptions.order import CREATED, SEEN, UPDATED
from chalicelib.subscriptions.subscription import STATUS_OF, Access, Subscription, Terms, access, project

__all__ = [
    "CREATED",
    "MILESTONES",
    "RULES",
    "SEEN",
    "STATUS_OF",
    "UPDATED",
    "Access",
    "Change",
    "Facts",
    "Subscription",
    "Terms",
    "access",
    "change",
    "fact",
    "fold",
    "join",
    "project",
]
