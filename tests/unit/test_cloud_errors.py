"""Errors of the cloud, the engine, Docker and SSH as sentences."""

import json
import re
from pathlib import Path

from provisioning import cloud_errors
from provisioning.cloud_errors import explain
from provisioning.settings import Settings
from rehearsal.cloud import refusals
from rehearsal.providers.alicloud.client import ApiError
from tests.tables import table


@table("cloud_errors")
def test_a_sentence_says_what_to_do(text: str, parts: list[str]) -> None:
    said = explain(text, "dev")
    for part in parts:
        assert part.lower() in said.lower(), said
    assert said.endswith(".")
    assert "\n" not in said
    assert not re.search(r"<stack>|\{\w+\}", said), "every blank is filled in"


@table("cloud_errors")
def test_nothing_is_said_of_what_is_not_known(text: str) -> None:
    assert explain(text) == ""


def test_every_code_of_the_fact_sheet_is_known() -> None:
    sheet = Path("docs/facts/alicloud.md").read_text().partition("| code | advice |")[2]
    rows = [line.split("|")[1] for line in sheet.split("\n\n")[0].splitlines() if "|" in line]
    codes = re.findall(r"(?<![\w.…])[A-Z]\w{6,}(?:\.\w+)*", "\n".join(rows))
    assert len(codes) > 20
    for code in codes:
        assert explain(f"Code: {code}"), code


def test_what_the_rehearsed_region_refuses_is_found_in_the_providers_text() -> None:
    said = {"Code": "Moon.Full", "Message": "No.", "RequestId": "0A1B2C3D-77"}
    whole = explain(str(ApiError("alicloud_vpc", "CreateVpc", 400, said)))
    assert whole.startswith("Moon.Full: No. The cloud refused CreateVpc")
    assert "0A1B2C3D-77" in whole
    for code, (status, message) in refusals._SAYS.items():
        error = ApiError("alicloud_instance", "RunInstances", status, {**said, "Code": code})
        assert explain(str(error)).startswith(code), message


def test_settings_that_a_sentence_names_are_there() -> None:
    table = json.loads(Path(cloud_errors.__file__).with_suffix(".json").read_text())
    says = " ".join(row["says"] for rows in table.values() for row in rows)
    named = set(re.findall(r"\b[a-z]+(?:[A-Z]\w*)+\b", says)) - {
        "instanceTypes",
        "sshCommand",
        "vSwitch",
    }
    known = {field.alias or name for name, field in Settings.model_fields.items()}
    assert named <= known
