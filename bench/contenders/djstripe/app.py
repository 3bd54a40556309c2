"""dj-stripe on SQLite in memory: what it needs to record one event that is known to be genuine."""

import json

import django
from django.conf import settings

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "djstripe"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    STRIPE_TEST_SECRET_KEY="sk_test_000000000000000000000000",
    STRIPE_LIVE_MODE=False,
    DJSTRIPE_FOREIGN_KEY_TO_FIELD="id",
    DJSTRIPE_USE_NATIVE_JSONFIELD=True,
    USE_TZ=True,
)
django.setup()

from django.core.management import call_command
from djstripe.models import Account, APIKey, Event

KEY = "sk_test_" + 24 * "0"
call_command("migrate", verbosity=0)
owner = Account.objects.create(id="acct_bench", livemode=False)
APIKey.objects.create(type="secret", secret=KEY, livemode=False, djstripe_owner_account=owner)


def handler(event, context):
    """Record the event of a webhook's body, once."""
    data = json.loads(event["body"])
    if not Event.objects.filter(id=data["id"]).exists():
        Event._create_from_stripe_object(data, api_key=KEY)
    return {"statusCode": 200}
