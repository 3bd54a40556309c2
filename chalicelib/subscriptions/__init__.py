"""The subscription: what its events prove, and whether there is access. Pure, as ``payments`` is.

events ─ provider ─→ facts.py ─ join ─→ from_edges.py, order.py: which of Stripe's states is the last
                                  ├─→ from_bodies.py: which of PayPal's, and what its sales say since
                                  ├─→ paid.py: what was paid, and how far
                                  ├─→ subscription.py, access.py: as it is shown, and its access at an instant
                                  └─→ milestones.py, news.py, telling.py: what handlers are notified of
"""

from chalicelib.subscriptions.access import Access, access, expires_at, shown
from chalicelib.subscriptions.facts import RULES, Facts, fact, fold, join
from chalicelib.subscriptions.from_bodies import STATUSES_OF, fails
from chalicelib.subscriptions.from_edges import STATUS_OF
from chalicelib.subscriptions.milestones import MILESTONES
from chalicelib.subscriptions.news import Change, change
from chalicelib.subscriptions.order import CREATED, SEEN, UPDATED
from chalicelib.subscriptions.paid import CYCLE
from chalicelib.subscriptions.subscription import Subscription, project
from chalicelib.subscriptions.telling import NOTHING_TOLD, Told, look_at, needs_asking, tell
from chalicelib.subscriptions.terms import TERMS, Terms

__all__ = [
    "CREATED",
    "CYCLE",
    "MILESTONES",
    "NOTHING_TOLD",
    "RULES",
    "SEEN",
    "STATUSES_OF",
    "STATUS_OF",
    "TERMS",
    "UPDATED",
    "Access",
    "Change",
    "Facts",
    "Subscription",
    "Terms",
    "Told",
    "access",
    "change",
    "expires_at",
    "fact",
    "fails",
    "fold",
    "join",
    "look_at",
    "needs_asking",
    "project",
    "shown",
    "tell",
]
