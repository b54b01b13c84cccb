"""One region's API of Alibaba Cloud, by the official generic client: way in, deadlines, errors.

The client's packages are big, so they are imported by the first call.
"""

import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from provisioning.clients.errors import NotFound, Refused, ServiceError, Unauthorized, Unreachable
from provisioning.cloud_errors import explain

if TYPE_CHECKING:
    from alibabacloud_credentials_api import ICredentialsProvider

SERVICE = "Alibaba Cloud"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0

_VERSIONS = {"ecs": "2014-05-26", "vpc": "2016-04-28"}
# As the provider reads them (docs/facts/alicloud.md §6, §7), first come first.
_KEY = ("ALICLOUD_ACCESS_KEY", "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABACLOUD_ACCESS_KEY_ID")
_SECRET = (
    "ALICLOUD_SECRET_KEY",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
    "ALIBABACLOUD_ACCESS_KEY_SECRET",
)
_TOKEN = (
    "ALICLOUD_SECURITY_TOKEN",
    "ALIBABA_CLOUD_SECURITY_TOKEN",
    "ALIBABACLOUD_SECURITY_TOKEN",
)
_PROFILE = ("ALICLOUD_PROFILE", "ALIBABA_CLOUD_PROFILE")
_ROLE = ("ALICLOUD_ECS_ROLE_NAME", "ALIBABA_CLOUD_ECS_METADATA")
_REGION = ("ALICLOUD_REGION", "ALIBABA_CLOUD_REGION")


class NoCredentials(ServiceError):
    """Nobody said who asks, or what was said is no good."""


class CloudRefusal(Refused):
    """The API said no: `code` (`OperationDenied.NoStock`), `message`, `request_id`."""

    def __init__(self, call: str, code: str, message: str, request_id: str) -> None:
        self.code, self.message, self.request_id = code, message, request_id
        known = explain(f"{call} Failed!!! Code: {code} Message: {message}")
        told = known or f"{code}: {message}"
        super().__init__(SERVICE, call, f"{told} (request {request_id})")


class CloudUnauthorized(CloudRefusal, Unauthorized):
    """The credentials are wrong, or permit too little."""


class CloudNotFound(CloudRefusal, NotFound):
    """What the call names is not there."""


class Api:
    """The calls of one region.

    Args:
        region: `cn-hangzhou`.
        config: the alicloud provider's settings, as in a stack's file (`alicloud:accessKey`) or as
            the provider has them (`accessKey`); structures may be JSON.
        environ: what the settings leave open is sought there, as by the provider.
    """

    def __init__(
        self, region: str, config: Mapping[str, Any], environ: Mapping[str, str] = os.environ
    ) -> None:
        self.region = region
        self._config = {name.rpartition(":")[2]: _read(value) for name, value in config.items()}
        self._environ = environ
        self._provider: ICredentialsProvider | None = None

    def call(self, product: str, action: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401
        """What `action` of `ecs` or `vpc` answers; lists and mappings are written flat.

        Raises:
            NoCredentials: nobody said who asks.
            CloudRefusal: the API's own no, code and all.
            Unreachable: no usable answer within the deadlines.
        """
        from alibabacloud_tea_openapi.client import Client
        from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
        from alibabacloud_tea_openapi.models import Config, OpenApiRequest, Params
        from darabonba.runtime import RuntimeOptions

        client = Client(
            Config(
                credential=self._credentials(),
                endpoint=self._endpoint(product),
                protocol=str(self._config.get("protocol") or "HTTPS"),
                # The version of the signature that goes with RPC's form.
                signature_algorithm="v2",
                connect_timeout=int(CONNECT_SECONDS * 1000),
                read_timeout=int(ANSWER_SECONDS * 1000),
            )
        )
        asked = Params(
            action=action,
            version=_VERSIONS[product],
            protocol="HTTPS",
            pathname="/",
            method="POST",
            auth_type="AK",
            style="RPC",
            req_body_type="formData",
            body_type="json",
        )
        request = OpenApiRequest(body={"RegionId": self.region, **parameters})
        named = f"{product} {action} in {self.region}"
        try:
            answer: dict[str, Any] = client.call_api(asked, request, RuntimeOptions())["body"]
        except AlibabaCloudException as error:
            raise _refusal(named, error.status_code, error.data or {}) from None
        except Exception as error:  # whatever the client's transport raises
            raise Unreachable(SERVICE, named, _without_query(str(error))) from None
        return answer

    def _endpoint(self, product: str) -> str:
        """Each region has its own of both (their pages "Endpoints" in the cloud's manual)."""
        given = self._config.get("endpoints") or {}
        rows = given if isinstance(given, list) else [given]
        named = next((row[product] for row in rows if row.get(product)), None)
        variable = self._environ.get(f"ALIBABA_CLOUD_ENDPOINT_{product.upper()}")
        return str(named or variable or f"{product}.{self.region}.aliyuncs.com")

    def _credentials(self) -> Any:  # noqa: ANN401 - the package has no types
        from alibabacloud_credentials.client import Client

        if self._provider is None:
            try:
                provider = self._assumed(self._base())
                provider.get_credentials()
            except Exception as error:
                raise NoCredentials(SERVICE, "credentials", _no_credentials(error)) from None
            self._provider = provider
        return Client(provider=self._provider)

    def _base(self) -> "ICredentialsProvider":
        """Settings, then variables, then a profile of the `aliyun` CLI, then the server's role."""
        from alibabacloud_credentials import provider

        key = self._config.get("accessKey") or self._variable(_KEY)
        secret = self._config.get("secretKey") or self._variable(_SECRET)
        # A token belongs to the keys that it came with.
        of_config = self._config.get("accessKey")
        token = self._config.get("securityToken") if of_config else self._variable(_TOKEN)
        if key and secret and token:
            return provider.StaticSTSCredentialsProvider(
                access_key_id=key, access_key_secret=secret, security_token=token
            )
        if key and secret:
            return provider.StaticAKCredentialsProvider(access_key_id=key, access_key_secret=secret)
        if role := self._config.get("ecsRoleName") or self._variable(_ROLE):
            return provider.EcsRamRoleCredentialsProvider(
                role_name=role, async_update_enabled=False
            )
        file = self._config.get("sharedCredentialsFile") or self._variable(
            ("ALIBABA_CLOUD_CREDENTIALS_FILE",)
        )
        return provider.CLIProfileCredentialsProvider(
            profile_name=self._config.get("profile") or self._variable(_PROFILE),
            profile_file=file and os.path.expanduser(file),  # noqa: PTH111 - None stays None
        )

    def _assumed(self, base: "ICredentialsProvider") -> "ICredentialsProvider":
        """The role that the settings name, taken by `base`; `base` itself without one."""
        from alibabacloud_credentials import provider

        if given := self._first("assumeRoleWithOidc"):
            return provider.OIDCRoleArnCredentialsProvider(
                role_arn=given.get("roleArn"),
                oidc_provider_arn=given.get("oidcProviderArn"),
                oidc_token_file_path=given.get("oidcTokenFile"),
                role_session_name=given.get("roleSessionName"),
            )
        if given := self._first("assumeRole"):
            return provider.RamRoleArnCredentialsProvider(
                credentials_provider=base,
                role_arn=given.get("roleArn"),
                role_session_name=given.get("sessionName"),
                external_id=given.get("externalId"),
            )
        return base

    def _first(self, name: str) -> Mapping[str, Any]:
        given = self._config.get(name) or {}
        found: Mapping[str, Any] = (given or [{}])[0] if isinstance(given, list) else given
        return found

    def _variable(self, names: tuple[str, ...]) -> str | None:
        return next((value for name in names if (value := self._environ.get(name))), None)


def region_of(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> str:
    """The region that a stack's settings or the environment name; "" for none."""
    named = config.get("alicloud:region") or config.get("region")
    return str(named or next((v for name in _REGION if (v := environ.get(name))), ""))


def _read(value: Any) -> Any:  # noqa: ANN401 - whatever a setting is
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return value


def _refusal(call: str, status: int | None, said: Mapping[str, Any]) -> CloudRefusal:
    code, message = str(said.get("Code", "")), str(said.get("Message", ""))
    kind = CloudRefusal
    if code.startswith(("InvalidAccessKey", "Signature", "InvalidSecurityToken", "Forbidden")):
        kind = CloudUnauthorized
    elif status == 404 and code.endswith(".NotFound") and not code.startswith("InvalidAction"):
        kind = CloudNotFound
    return kind(call, code, message, str(said.get("RequestId", "")))


def _without_query(text: str) -> str:
    """The transport quotes the whole address, which holds key id, token and signature."""
    return re.sub(r"(?:with url: )?/?\?\S+", "", text)


def _no_credentials(error: Exception) -> str:
    return (
        "nobody said who asks: set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET,"
        f" or take another of the ways in docs/accounts.md ({_without_query(str(error))})"
    )
