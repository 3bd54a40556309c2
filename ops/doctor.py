"""Is a stage well? Each check says what it found, and what to do where it is not."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from chalicelib import accounts, beginning, standard_webhooks
from chalicelib.accounts import Secrets, fingerprint
from chalicelib.bus import EventBus
from chalicelib.credentials import SIMULATOR, refused
from chalicelib.errors import AwsError, Refused
from chalicelib.reconcile import OVERDUE, last_success
from chalicelib.settings import STAGE_LOCAL
from chalicelib.targets import HTTPS, SLACK, SQS, Target, is_address
from chalicelib.times import to_iso
from ops import deployed, stages
from ops.deploy import PARTIAL_BATCHES, REPORTED
from ops.providers_api import listings
from ops.signals import Signals, Wanted
from ops.stage import Stage

MOST_PARKED = 1000  # that are counted
PROJECT = Path(__file__).resolve().parents[1]
OK, WARNING, WRONG = "ok", "warning", "wrong"
SKEW = 30  # seconds
SIGNED_WITH = ("stripe_webhook_secrets", "paypal_webhook_ids")
ROLLED = 7  # days of use of a secret that are looked at
TIMES = 6  # by which a message stays hidden for longer than its function may run
READS = (
    "dynamodb:GetItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "sqs:GetQueueAttributes",
    "logs:FilterLogEvents",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``level`` is ok, warning or wrong; ``remedy`` what to do, where there is something."""

    check: str
    level: str
    found: str
    remedy: str = ""


def _why_refused(name: str, value: str) -> tuple[str, str]:
    if value == SIMULATOR:
        remedy = f"remove {SIMULATOR}: PayPal's simulator signs for it, for anyone"
        return "the simulator's webhook id is configured, and ignored", remedy
    found = f"one of {name} ({fingerprint(value)}) has not the form of Stripe's, and is ignored"
    return found, "put in the signing secret that Stripe shows for the endpoint"


@dataclass(frozen=True, slots=True)
class Doctor:
    """One stage, as seen from here. ``clock`` in milliseconds; ``environ`` for the providers' addresses."""

    stage: Stage
    secrets: Callable[[], Secrets]
    clock: Callable[[], int]
    environ: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        return self.stage.name == STAGE_LOCAL

    def examine(self) -> Iterator[Finding]:
        """All checks, one after the other; one that cannot be made says so and does not stop the others."""
        checks: list[Callable[[], Iterable[Finding]]] = [
            self.credentials,
            self.resources,
            self.beginning,
            self.functions,
            self.queues,
            self.bus,
            self.secret,
            *((self.rolls, self.targets, self.providers, self.reconciled) if self._is_filled() else ()),
            self.traffic,
            self.parked,
            self.alarms,
            self.permissions,
        ]
        for check in checks:
            try:
                yield from check()
            except (AwsError, BotoCoreError, ClientError, Refused) as error:
                remedy = "see whether your AWS credentials may read it, and whether the stage is deployed"
                yield Finding(check.__name__, WRONG, f"cannot be looked at: {error}", remedy)

    def _is_filled(self) -> bool:
        """Whether there is a secret to read: where there is none, that is said once."""
        try:
            self.secrets()
        except Refused:
            return False
        return True

    # ── what is there ───────────────────────────────────────────────────────────────────────────

    def credentials(self) -> Iterator[Finding]:
        answer = self.stage.client("sts").get_caller_identity()
        region = self.stage.session.region_name
        if region is None:
            yield Finding("credentials", WRONG, "no region", "set AWS_DEFAULT_REGION, or one in your profile")
        yield Finding("credentials", OK, f"account {answer['Account']}, region {region}")
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        skew = abs(parsedate_to_datetime(date).timestamp() - self.clock() / 1000) if date else 0
        if skew > SKEW:
            remedy = "set this machine's clock: AWS refuses what is signed five minutes off"
            yield Finding("clock", WARNING, f"{skew:.0f} s from AWS's", remedy)
        else:
            yield Finding("clock", OK, f"within {SKEW} s of AWS's")

    def resources(self) -> Iterator[Finding]:
        deploy = f"daybook deploy --stage {self.stage.name}"
        try:
            table = self.stage.client("dynamodb").describe_table(TableName=self.stage.names.table)["Table"]
        except ClientError:
            yield Finding("ledger", WRONG, f"there is no table {self.stage.names.table}", deploy)
            return
        indexes = {each["IndexName"] for each in table.get("GlobalSecondaryIndexes", ())}
        missing = {"by-reference", "by-day", "by-inconsistency", "by-customer"} - indexes
        if table["TableStatus"] != "ACTIVE" or missing:
            found = f"{table['TableStatus']}, without {', '.join(sorted(missing)) or 'nothing'}"
            yield Finding("ledger", WRONG, found, deploy)
        else:
            yield Finding("ledger", OK, f"{table['TableName']}, {table.get('ItemCount', 0)} items")
        if not self.is_local:
            recovery = self.stage.client("dynamodb").describe_continuous_backups(
                TableName=self.stage.names.table
            )
            state = recovery["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
            is_on = state.get("PointInTimeRecoveryStatus") == "ENABLED"
            found = "point-in-time recovery is " + ("on" if is_on else "off")
            yield Finding("recovery", OK if is_on else WARNING, found, "" if is_on else deploy)

    def beginning(self) -> Iterator[Finding]:
        noted = self.stage.ledger().checkpoints.checkpoint(beginning.NOTED).get("began_at")
        if noted is None:
            yield Finding(
                "began", OK, "it has heard nothing yet: it begins with the first event, or the deploy"
            )
        elif noted == beginning.ALWAYS:
            yield Finding("began", OK, "handlers are notified of whatever is learnt")
        else:
            yield Finding("began", OK, f"handlers are notified of what happened since {to_iso(noted)}")

    def functions(self) -> Iterator[Finding]:
        if self.is_local:
            yield Finding("functions", OK, "run by `make run`")
            return
        client = self.stage.client("lambda")
        shas: dict[str, str] = {}
        for name in self._config():
            full = self.stage.names.function(name)
            try:
                made = client.get_function_configuration(FunctionName=full)
            except ClientError:
                remedy = f"daybook deploy --stage {self.stage.name}"
                yield Finding("functions", WRONG, f"{full} is not deployed", remedy)
                continue
            shas[full] = made["CodeSha256"]
        if len(set(shas.values())) > 1:
            remedy = f"daybook deploy --stage {self.stage.name}"
            yield Finding("functions", WRONG, "they are not all of one version", remedy)
        elif shas:
            version = next(iter(shas.values()))[:8]
            yield Finding("functions", OK, f"{len(shas)} functions, all of version {version}")

    def _config(self) -> dict[str, Any]:
        functions: dict[str, Any] = self.stage.config.get("lambda_functions", {})
        return functions

    def bus(self) -> Iterator[Finding]:
        """The event bus, where the stage publishes to one."""
        name = self.stage.settings(self.environ).event_bus
        if name is None:
            return
        if EventBus(self.stage.aws(), name).is_there():
            yield Finding("bus", OK, f"{name} is there")
            return
        found = f"there is no bus {name}: EventBridge takes what is sent to it, and drops it"
        yield Finding("bus", WRONG, found, f"daybook deploy --stage {self.stage.name}, or make that bus")

    def queues(self) -> Iterator[Finding]:
        client = self.stage.client("sqs")
        deploy = f"daybook deploy --stage {self.stage.name}"
        names, attributes = self.stage.names, {}
        for name in names.queues:
            url = client.get_queue_url(QueueName=name)["QueueUrl"]
            attributes[name] = client.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        hidden = int(attributes[names.queue]["VisibilityTimeout"])
        timeout = int(self._config().get("process", {}).get("lambda_timeout", hidden // TIMES))
        if hidden < TIMES * timeout:
            found = (
                f"a message stays hidden for {hidden} s, less than {TIMES} times the consumer's {timeout} s"
            )
            yield Finding("queue", WRONG, found, f"deploy with VisibilityTimeout={TIMES * timeout}")
        redrive = json.loads(attributes[names.queue].get("RedrivePolicy", "{}"))
        dead = str(redrive.get("deadLetterTargetArn", "")).rpartition(":")[2]
        if dead != names.dead_queue:
            yield Finding("queue", WRONG, "failed messages go to no dead-letter queue", deploy)
        waiting = int(attributes[names.queue]["ApproximateNumberOfMessages"])
        busy = int(attributes[names.queue]["ApproximateNumberOfMessagesNotVisible"])
        yield Finding("queue", OK, f"{waiting} waiting, {busy} being worked on")
        left = int(attributes[names.dead_queue]["ApproximateNumberOfMessages"])
        if left:
            remedy = "the function `park` takes them off within seconds; look at its log"
            yield Finding("dead-letter queue", WARNING, f"{left} wait to be parked", remedy)
        if not self.is_local:
            yield from self._mappings()

    def _mappings(self) -> Iterator[Finding]:
        client = self.stage.client("lambda")
        for name in ("process", "park", "deliver"):
            function = self.stage.names.function(name)
            found = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
            states = [each.get("State", "Enabled") for each in found]
            if states not in (["Enabled"], ["Creating"], ["Updating"]):
                remedy = f"daybook deploy --stage {self.stage.name}"
                yield Finding("mapping", WRONG, f"{function} is fed by {states or 'nothing'}", remedy)
        yield from self._reports(client)

    def _reports(self, client: Any) -> Iterator[Finding]:
        """Whether the consumer returns what failed, and its mapping takes it: both, or neither."""
        function = self.stage.names.function("process")
        found = client.get_function_configuration(FunctionName=function)
        feeds = deployed.mappings(client, found["FunctionArn"])
        takes = all(REPORTED in each.get("FunctionResponseTypes", ()) for each in feeds)
        environment = found.get("Environment", {})
        returns = environment.get("Variables", {}).get(PARTIAL_BATCHES) == "true"
        remedy = f"daybook deploy --stage {self.stage.name}"
        if returns and not takes:
            lost = f"{function} returns failures to a mapping without {REPORTED}: they are lost"
            yield Finding("mapping", WRONG, lost, f"at once: {remedy}")
        elif not returns:
            yield Finding(
                "mapping", WARNING, f"{function} raises for what fails, which slows its queue", remedy
            )

    # ── secrets and providers ───────────────────────────────────────────────────────────────────

    def secret(self) -> Iterator[Finding]:
        fill = f"fill {self.stage.names.secret} in Secrets Manager (docs/deploy.md)"
        try:
            secrets = self.secrets()
        except Refused as error:
            found = f"{error} ({error.reason}): every webhook is answered 503"
            until = None if self.is_local else deployed.secret_deleted_on(self.stage, self.stage.names.secret)
            if until:
                found = f"{self.stage.names.secret} was deleted, and is gone for good on {until}"
                fill = f"daybook deploy --stage {self.stage.name} restores it"
            yield Finding("secret", WRONG, found, fill)
            return
        all_of_them = accounts.together(secrets)
        counts = {name: len(all_of_them.get(name, ())) for name in SIGNED_WITH}
        further = [each for each in accounts.accounts(secrets) if each]
        if further:
            yield Finding("accounts", OK, f"beside its own: {', '.join(further)}")
        for malformed in secrets.get(accounts.ACCOUNTS, ()):
            found = (
                f"{malformed} below accounts is left out: a name is of a-z, 0-9 and -, and has credentials"
            )
            yield Finding("accounts", WRONG, found, fill)
        for name, count in counts.items():
            level = OK if count else WARNING
            yield Finding("secret", level, f"{count} {name}", "" if count else f"{fill}, if you use that one")
        for name, value in () if self.is_local else refused(secrets):
            yield Finding("secret", WARNING, *_why_refused(name, value))

    def rolls(self) -> Iterator[Finding]:
        """Where two secrets are valid: which one was used of late, so that the old one can go."""
        secrets = self.secrets()
        until = datetime.now(UTC) + timedelta(minutes=1)  # CloudWatch takes whole seconds: this one counts
        for name, values in secrets.items():
            if name.partition(accounts.AT)[0] not in SIGNED_WITH or len(values) < 2:
                continue
            wanted = [Wanted("verified", by=("secret", fingerprint(each))) for each in values]
            signals = Signals(self.stage)
            series = signals.series(wanted, until - timedelta(days=ROLLED), until, 86_400)
            used = [int(sum(value for _, value in each)) for each in series]
            pairs = zip(values, used, strict=True)
            found = ", ".join(f"{fingerprint(value)} verified {count}" for value, count in pairs)
            unused = [fingerprint(value) for value, count in zip(values, used, strict=True) if not count]
            remedy = f"{', '.join(unused)} was not used for {ROLLED} days: remove it" if unused else ""
            yield Finding("secret roll", WARNING if unused else OK, f"{name}: {found}", remedy)

    def targets(self) -> Iterator[Finding]:
        """What each target needs to be sent anything, and what waits for it."""
        known = self.stage.settings(self.environ).targets
        secrets = self.secrets()
        for name in secrets:
            if name.startswith("target_") and name not in {each.secret_name for each in known}:
                remedy = "configure it, or remove the secret (docs/targets.md)"
                yield Finding("target", WARNING, f"{name} is the secret of no target", remedy)
        shelf = self.stage.ledger().undelivered
        waiting = Counter(each.target for each in shelf.waiting(self.clock()))
        parked = Counter(each.target for each in islice(shelf.parked(), MOST_PARKED))
        for target in known:
            lacks = self._lacks(target, secrets)
            if lacks:
                yield Finding("target", WRONG, f"{target.name}: {lacks}", "see docs/targets.md")
            else:
                found = f"{target.name}, {waiting[target.name]} records wait for it"
                yield Finding("target", OK, found)
        for name in sorted({*waiting, *parked} - {each.name for each in known}):
            found = f"{waiting[name] + parked[name]} records wait for {name}, which is no target of the stage"
            remedy = "configure it again, or daybook redrive --all --to ANOTHER"
            yield Finding("target", WRONG, found, remedy)
        if parked:
            found = f"{parked.total()} records were not taken by {', '.join(sorted(parked))}, and are parked"
            yield Finding("target", WARNING, found, "daybook parked, then daybook redrive")

    def _lacks(self, target: Target, secrets: Secrets) -> str | None:
        if target.kind == SQS:
            return self._queue_lacks(target.address)
        values = secrets.get(target.secret_name, ())
        if not values:
            return f"there is no {target.secret_name} in {self.stage.names.secret}"
        try:
            for value in values if target.kind == HTTPS else ():
                standard_webhooks.key(value)
        except ValueError as error:
            return f"{target.secret_name} is {error}"
        if target.kind == SLACK and not is_address(values[0], self.is_local):
            return f"{target.secret_name} is no https:// address"
        return None

    def _queue_lacks(self, arn: str) -> str | None:
        *_, of_queue, account, name = arn.split(":")
        region = self.stage.session.region_name
        if of_queue != region:
            return f"its queue is in {of_queue}, the stage in {region}"
        forbidden = None if self.is_local else self._forbidden(arn)
        if forbidden:
            return forbidden
        try:
            self.stage.client("sqs").get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)
        except ClientError as error:  # another one than that says that this person may not ask
            if error.response["Error"]["Code"].endswith(("NonExistentQueue", "QueueDoesNotExist")):
                return f"there is no queue {arn}"
        return None

    def _forbidden(self, arn: str) -> str | None:
        """What the policy of who sends does not let it do with a queue."""
        granted = stages.granted(PROJECT, self.stage.name, "deliver", arn)
        needed = ("sqs:GetQueueUrl", "sqs:SendMessage")
        missing = [each for each in needed if not any(fnmatchcase(each, one) for one in granted)]
        policy = f".chalice/policy-{self.stage.name}-deliver.json"
        return f"{policy} allows no {' and no '.join(missing)} on {arn}" if missing else None

    def providers(self) -> Iterator[Finding]:
        """The endpoints as the providers have them."""
        found = listings(self.stage, self.secrets(), self.environ)
        for name, api in found.items():
            try:
                notices = api.endpoints()
            except (Refused, ValueError) as error:  # one account's key is nothing to the others
                yield Finding(name, WRONG, f"cannot be asked: {error}", "see whether its API keys are right")
                continue
            for each in notices:
                level = WRONG if each.is_broken else WARNING if each.remedy else OK
                yield Finding(name, level, each.found, each.remedy)
        if not found:
            yield Finding("endpoints", OK, "not looked at: no API keys are set")

    def reconciled(self) -> Iterator[Finding]:
        for name in listings(self.stage, self.secrets(), self.environ):
            at = last_success(self.stage.ledger(), name)
            provider, _ = accounts.named(name)
            remedy = f"daybook reconcile --stage {self.stage.name} --provider {provider}"
            if at is None:
                yield Finding("reconcile", WARNING, f"{name} was never reconciled", remedy)
            else:
                level = WRONG if self.clock() - at > OVERDUE else OK
                yield Finding(
                    "reconcile", level, f"{name}: last done {to_iso(at)}", "" if level == OK else remedy
                )

    # ── how it goes ─────────────────────────────────────────────────────────────────────────────

    def traffic(self) -> Iterator[Finding]:
        until = datetime.now(UTC)
        wanted = [Wanted("accepted"), Wanted("refused")]
        accepted, refused = Signals(self.stage).series(wanted, until - timedelta(days=1), until, 300)
        last = max((at for at, value in accepted if value), default=None)
        if last is None:
            remedy = (
                "look at the endpoint in the provider's dashboard: URL, whether it is enabled, its deliveries"
            )
            yield Finding("traffic", WARNING, "no webhook was accepted for a day", remedy)
        else:
            yield Finding("traffic", OK, f"last accepted about {last:%Y-%m-%d %H:%M} UTC")
        sums = [int(sum(value for _, value in each)) for each in (accepted, refused)]
        yield Finding("traffic", OK, f"in a day {sums[0]} accepted, {sums[1]} refused")

    def parked(self) -> Iterator[Finding]:
        count = sum(1 for _ in self.stage.ledger().parking.parked())
        if count:
            name = self.stage.name
            remedy = f"daybook parked --stage {name}, then daybook redrive --all --dry-run --stage {name}"
            yield Finding("parked", WARNING, f"{count} events are set aside", remedy)
        else:
            yield Finding("parked", OK, "nothing is set aside")

    def alarms(self) -> Iterator[Finding]:
        found = Signals(self.stage).alarms()
        for each in found:
            if each.is_on:
                yield Finding("alarm", WRONG, f"{each.name}: {each.meaning}", f"docs/runbook.md, {each.name}")
        if not any(each.is_on for each in found):
            yield Finding("alarm", OK, f"none of {len(found)} is on")

    def permissions(self) -> Iterator[Finding]:
        """Whether this person may do what the commands do, where that may be asked."""
        if self.is_local:
            return
        arn = self.stage.client("sts").get_caller_identity()["Arn"]
        try:
            answer = self.stage.client("iam").simulate_principal_policy(
                PolicySourceArn=arn, ActionNames=list(READS)
            )
        except (ClientError, ResponseParserError) as error:
            why = type(error).__name__
            yield Finding("permissions", OK, f"not looked at: IAM does not let them be simulated ({why})")
            return
        denied = [
            each["EvalActionName"]
            for each in answer["EvaluationResults"]
            if each["EvalDecision"] != "allowed"
        ]
        if denied:
            remedy = "ask for these on the stage's resources"
            yield Finding("permissions", WARNING, f"denied: {', '.join(denied)}", remedy)
        else:
            yield Finding("permissions", OK, "what the commands read may be read")
