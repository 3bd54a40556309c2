"""Which order a payment is of: the user's own words in it, as far as the stage allows them to be kept.

A provider's ``facts`` name all that people wrote, under ``labels``; only what is allowed becomes part of a
record. Which of several is the reference is decided then: so records say it without knowing a setting.
"""

from dataclasses import dataclass

from chalicelib.payments.facts import Facts

LONGEST = 500  # characters of a value, as Stripe allows
METADATA = "metadata."


@dataclass(frozen=True, slots=True)
class Labels:
    """``metadata`` names its keys that are kept; ``references`` what is the reference, best first."""

    metadata: tuple[str, ...] = ("order_id", "user_id")
    references: tuple[str, ...] = (
        "metadata.order_id",
        "client_reference_id",
        "metadata.user_id",
        "custom_id",
        "invoice_id",
    )

    def kept(self, facts: Facts, thing: str = "payment") -> Facts:
        """The facts with what is allowed of that thing's labels."""
        about = facts.get(thing, {})
        if "labels" not in about:
            return facts
        labels = about["labels"]
        fields = {name: value for name, value in about.items() if name != "labels"}
        metadata = {key: labels[METADATA + key] for key in self.metadata if METADATA + key in labels}
        known = [name for name in self.references if name in labels]
        if metadata:
            fields["metadata"] = metadata
        if known:
            fields["reference"] = [-self.references.index(known[0]), *labels[known[0]]]
        return {**facts, thing: fields}


def labels(instant: int, **values: object) -> dict[str, list[int | str]] | None:
    """The fact of what people wrote, by its name, as of an instant; ``None`` if they wrote nothing."""
    written = {name: value for name, value in values.items() if isinstance(value, str) and value.strip()}
    return {name: [instant, value] for name, value in written.items() if len(value) <= LONGEST} or None
