"""What everything of a stage is called: the one place where these names are made."""

from collections.abc import Mapping
from dataclasses import dataclass

APP = "daybook"  # Chalice's name of the application, as in .chalice/config.json
API_HANDLER = "api_handler"  # what Chalice calls the function behind the routes
# Where the local PayPal leaves what is needed to sign as it does.
SIMULATOR_SECRET = "daybook/simulator"  # noqa: S105 - a name


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One stage's. The table, queues and secret can be called otherwise by its configuration."""

    stage: str
    table: str
    queue: str
    dead_queue: str
    targets_queue: str
    secret: str

    @property
    def queues(self) -> tuple[str, str]:
        return self.queue, self.dead_queue

    @property
    def stack(self) -> str:
        """CloudFormation's, of all that Chalice does not make."""
        return f"daybook-resources-{self.stage}"

    def function(self, name: str = API_HANDLER) -> str:
        """Lambda's, of one of ``app.py``'s functions."""
        return f"{APP}-{self.stage}" + ("" if name == API_HANDLER else f"-{name}")

    def log_group(self, name: str = API_HANDLER) -> str:
        return f"/aws/lambda/{self.function(name)}"


def names(stage: str, environ: Mapping[str, str]) -> Names:
    """The stage's names, where ``environ`` does not say otherwise."""
    return Names(
        stage=stage,
        table=environ.get("DAYBOOK_TABLE", f"payment-transactions-{stage}"),
        queue=environ.get("DAYBOOK_QUEUE", f"payment-events-{stage}.fifo"),
        dead_queue=environ.get("DAYBOOK_DEAD_QUEUE", f"payment-events-dead-{stage}.fifo"),
        targets_queue=environ.get("DAYBOOK_TARGETS_QUEUE", f"payment-targets-{stage}"),
        secret=environ.get("DAYBOOK_SECRET", f"daybook/{stage}"),
    )
