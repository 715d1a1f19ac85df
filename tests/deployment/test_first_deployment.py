"""A first deployment: wrong settings are refused, and one that fails leaves nothing behind."""

import pytest
from botocore.exceptions import ClientError

import templates
from world import Cloud, Engine, Seen, Stack, StackOf

# For each rule of the template: what breaks it, and the parameters that its text has to name.
RULES: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "SecretOfTheEngine": (
        {"SearchSecretArn": ""},
        ("SearchSecretArn", "InstallIndexTemplate=false"),
    ),
    "SignedRequests": (
        {"SearchSignIn": "es", "InstallIndexTemplate": "false"},
        ("SearchResourceArn", "SearchSignIn=es"),
    ),
    "PollerNeedsTenant": ({"Inputs": "poller", "Auth0Url": ""}, ("poller", "Auth0Url")),
    "EventBridgeNeedsSource": (
        {"Inputs": "eventbridge", "EventSourceName": ""},
        ("EventBridge", "EventSourceName"),
    ),
    "DomainNeedsCertificate": (
        {"DomainName": "logs.example.com"},
        ("DomainName", "DomainCertificateArn"),
    ),
    "EnvironmentIsLimited": (
        {"SearchCaCertificate": "…", "IncludeTypes": "s", "ExcludeTypes": "f"},
        ("SearchCaCertificate", "IncludeTypes", "ExcludeTypes", "AllowedSourceCidrs"),
    ),
}


def test_rules_are_tested() -> None:
    assert set(templates.transformed(SearchEndpoint="")["Rules"]) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_wrong_setting_is_refused(
    rule: str, cloud: Cloud, values: dict[str, str], seen: Seen
) -> None:
    changes, named = RULES[rule]
    template = templates.deployable(**values)
    with pytest.raises(ClientError) as refused:
        cloud.deploy(f"rule-{rule}", template, values | changes, update=False)
    assert not [word for word in named if word not in str(refused.value)], refused.value
    seen(f"refused by a text that names {', '.join(named)}")


@pytest.mark.parametrize("inputs", ["both", "eventbridge+poller"])
def test_failed_deployment_leaves_nothing(
    inputs: str, cloud: Cloud, opensearch: Engine, stack_of: StackOf, seen: Seen
) -> None:
    """One with all that a stack can have, secrets of its own included."""
    own = dict.fromkeys(("WebhookSecretArn", "Auth0SecretArn", "MaskSecretArn"), "")
    own |= {"MaskUserData": "hash", "Detections": "on"}
    before = cloud.left()
    with opensearch.away():
        stack_of("failed", opensearch, Inputs=inputs, **own).expect("ROLLBACK_COMPLETE")
    assert "the engine is unavailable (check SEARCH_ENDPOINT" in cloud.reason("failed")
    cloud.delete("failed")
    after = cloud.left()
    left = {what: sorted(set(after[what]) - set(before[what])) for what in after}
    assert not any(left.values()), left
    seen(f"rolled back with the reason; nothing left of {', '.join(left)}")


def test_deployment_stores_events(on_each_engine: Stack, seen: Seen) -> None:
    seen(f"{len(on_each_engine.resources)} resources; {on_each_engine.stores_events()}")
