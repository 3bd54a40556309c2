"""What runs on a person's machine: the ``daybook`` command, and all of AWS and PayPal for ``make run``."""
