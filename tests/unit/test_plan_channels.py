"""OneAPI's channels, and what must never reach OneAPI."""

import pytest
from pydantic import ValidationError

from provisioning.catalogue import Model
from provisioning.channels import channel_plans
from provisioning.regions import region
from provisioning.shape_problems import shape_problems
from provisioning.traits import PROVIDERS
from tests.unit.plans import cases, model, remote

MAINLAND = region("cn-hangzhou", {})
TABLE = cases("plans.yaml")
CATALOGUE = [model(**told) for told in TABLE["catalogue"]]


def test_one_channel_per_source_and_kind() -> None:
    plans = channel_plans(CATALOGUE, MAINLAND)
    told = [[p.name, p.type, p.base_url, list(p.models), p.api_key] for p in plans]
    assert told == TABLE["channels"]
    assert [p.model_mapping for p in plans if p.model_mapping] == [{"ernie": "ERNIE-Speed-128K"}]
    # Another source never renames a channel.
    before = {plan.name for plan in plans}
    more = [remote("qwen-max", "chat", "dashscope", apiKey="second"), *CATALOGUE]
    after = {plan.name for plan in channel_plans(more, MAINLAND)}
    assert after == before | {"dashscope-second-chat"}


def test_the_same_name_is_neither_mapped_nor_listed_twice() -> None:
    same = [remote("a", "chat", model="a"), model("whisper-1", "transcription")]
    plans = channel_plans(same, MAINLAND)
    assert [(p.models, p.model_mapping) for p in plans] == [(("a",), {}), (("whisper-1",), {})]


def test_dashscopes_address_is_the_operators_or_the_regions() -> None:
    (abroad,) = channel_plans([remote("q", "chat", "dashscope")], region("ap-southeast-1", {}))
    assert abroad.base_url == "https://dashscope-intl.aliyuncs.com"
    own = remote("q", "chat", "dashscope", baseUrl="https://d.example/")
    assert channel_plans([own], MAINLAND)[0].base_url == "https://d.example"


def test_every_provider_has_a_type_that_v0_6_6_knows() -> None:
    # 40 and later came after v0.6.6; 2, 4 to 7, 9, 10, 12 and 13 are resellers nobody names here.
    types = [provider.type for provider in PROVIDERS.values()]
    assert all(1 <= type_ <= 39 for type_ in types)
    assert len(types) == len(set(types))


@pytest.mark.parametrize(
    "address", ["x.example", "https://a b", "https://", "https://[::1", "ftp://u:hush@x.org"]
)
def test_what_is_no_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValidationError) as refused:
        remote("a", "chat", baseUrl=address)
    (problem,) = shape_problems(refused.value, Model)
    assert problem.path == "remote.baseUrl"
    assert problem.right == "write an address, such as https://api.example.com"
    assert "hush" not in str(problem)


def test_a_plan_is_made_of_what_is_refused_too() -> None:
    twins = [remote(host, "chat", baseUrl=f"https://{host}") for host in ("a.b", "a-b")]
    assert [plan.models for plan in channel_plans(twins, MAINLAND)] == [("a.b", "a-b")]
