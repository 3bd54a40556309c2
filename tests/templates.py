"""The template of a stage's resources."""

from typing import Any

from chalice.package import YAMLTemplateSerializer

from tests.conftest import ROOT


def load(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAMLTemplateSerializer().load_template(text)
    return found


RESOURCES = load((ROOT / "infra" / "resources.yaml").read_text())


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = template["Resources"].items()
    return {name: each for name, each in found if each.get("Type") == kind}
