"""A deployment whose CA uses a KMS key that the deployer names."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from infra.configuration import Configuration
from tests.infra.conftest import ROOT, Synthesised, spell, spelled, synthesise
from tests.infra.test_functions import ECDSA, listed, ours, statements
from tests.infra.test_replacement import stateful

# In one worker, so that each variant is synthesised once.
pytestmark = pytest.mark.xdist_group("infra")

KEY = "arn:aws:kms:us-east-1:210987654321:key/mrk-1234abcd"
SIGNERS = {"Exchange", "ExchangeMqtt", "AuthorityFunction"}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Return the stack with a key from another account."""
    return synthesise(tmp_path_factory.mktemp("theirs"), caKey=KEY)


def test_the_stack_makes_no_key(theirs: Synthesised, stack: Synthesised) -> None:
    """The stack lacks the KMS key and the alarm on its policy, and no other resource or output."""
    assert not theirs.resources("AWS::KMS::Key")
    gone = stack.template["Resources"].keys() - theirs.template["Resources"].keys()
    assert {spell(name) for name in gone} == {"AuthorityKey", "AlarmsCaKeyPolicyChanged"}
    assert theirs.template["Outputs"].keys() == stack.template["Outputs"].keys()


def test_exactly_this_key_may_be_used(theirs: Synthesised) -> None:
    """The signing Lambdas may use this key with one algorithm, and no role may use another key."""
    for name in ours(theirs):
        about_keys = [
            statement
            for statement in statements(theirs, name)
            if any(action.startswith("kms:") for action in listed(statement["Action"]))
        ]
        assert {statement["Resource"] for statement in about_keys} <= {KEY}
        signing = [each["Condition"] for each in about_keys if each["Action"] == "kms:Sign"]
        assert signing == ([ECDSA] if name in SIGNERS else [])


def test_the_lambdas_know_the_key(theirs: Synthesised) -> None:
    """The signing Lambdas and the custom resource have the key's ARN as a setting."""
    for name in SIGNERS:
        assert ours(theirs)[name]["Environment"]["Variables"]["FIRSTBOOT_CA_KEY"] == KEY
    (made,) = theirs.resources("Custom::FirstbootAuthority").values()
    assert made["Properties"]["Key"] == KEY


def test_the_watch_looks_at_the_key(theirs: Synthesised, stack: Synthesised) -> None:
    """The watch knows the key's ARN, and the whole policy of the stack's own key."""
    found = [ours(each)["AuthorityWatch"]["Environment"]["Variables"] for each in (theirs, stack)]
    assert [spell(each["FIRSTBOOT_CA_KEY"]) for each in found] == [KEY, "${AuthorityKey.Arn}"]
    assert found[0]["FIRSTBOOT_KEY_POLICY"] == ""
    (key,) = stack.resources("AWS::KMS::Key").values()
    policy = spelled(found[1]["FIRSTBOOT_KEY_POLICY"])
    assert json.loads(policy) == spelled(key["Properties"]["KeyPolicy"])
    # Lambda's environment holds 4 KB. The CA's certificate and the roles' ARNs are longer than spelled here.
    assert len(policy) < 2_000


def test_the_watch_of_another_key_reads_no_policy(theirs: Synthesised) -> None:
    """The watch may describe a key that the configuration names and list its grants, and nothing else."""
    (statement,) = (
        each for each in statements(theirs, "AuthorityWatch") if "kms" in json.dumps(each["Action"])
    )
    assert (statement["Action"], statement["Resource"]) == (["kms:DescribeKey", "kms:ListGrants"], KEY)


def test_nothing_else_is_replaced(theirs: Synthesised, stack: Synthesised) -> None:
    """The table, the bucket and the logs are those of a stack with its own key."""
    kept = {name: each for name, each in stateful(stack.template).items() if "Key" not in name}
    assert stateful(theirs.template) == kept


def test_exchange_is_deployed_after_the_check_of_the_key(theirs: Synthesised) -> None:
    """The settings of `exchange` need the custom resource's result, so a key that `authority` refuses never
    signs.
    """
    (authority,) = theirs.resources("Custom::FirstbootAuthority")
    for name in ("Exchange", "ExchangeMqtt"):
        variables = spelled(ours(theirs)[name]["Environment"]["Variables"])
        assert variables["FIRSTBOOT_CA_CERTIFICATE"] == f"${{{authority}.CaCertificate}}"


def test_adoption_leaves_the_key_to_its_owner(tmp_path: Path) -> None:
    """With a named key, `cdk import` adopts the table and the bucket only."""
    alone = synthesise(tmp_path, caKey=KEY, adopt=True)
    assert {resource["Type"] for resource in stateful(alone.template).values()} == {
        "AWS::DynamoDB::GlobalTable",
        "AWS::S3::Bucket",
    }


def test_the_documented_policy_lets_in_the_signers(theirs: Synthesised) -> None:
    """The documented key policy matches the roles that sign, read and watch, by the names that CloudFormation
    gives, and no others.
    """
    (text,) = re.findall(
        r'^```json\n(\[\{"Sid".*?)^```$', (ROOT / "docs/deploy.md").read_text(), re.MULTILINE | re.DOTALL
    )
    signing, reading, watching = json.loads(text)
    assert signing["Action"] == "kms:Sign"
    assert signing["Condition"]["StringEquals"] == ECDSA["StringEqualsIfExists"]
    assert reading["Action"] == "kms:GetPublicKey"
    assert watching["Action"] == ["kms:DescribeKey", "kms:ListGrants"]
    allowed = ((signing, SIGNERS), (reading, {"AuthorityFunction"}), (watching, {"AuthorityWatch"}))
    for statement, names in allowed:
        patterns = listed(statement["Condition"]["ArnLike"]["aws:PrincipalArn"])
        roles = [
            name for name, each in theirs.template["Resources"].items() if each["Type"] == "AWS::IAM::Role"
        ]
        let_in = {
            spell(role)
            for role in roles
            for pattern in patterns
            if fnmatchcase(f"arn:aws:iam::ACCOUNT:role/Firstboot-{role}-1A2B3C", pattern)
        }
        assert let_in == {f"{name}Role" for name in names}


@pytest.mark.parametrize(
    "wrong", ["1234abcd", KEY.replace("key/", "alias/"), "alias/ca", f"{KEY} ", KEY.replace("kms", "s3")]
)
def test_only_a_keys_arn_is_taken(wrong: str) -> None:
    """The configuration refuses an alias, a bare key id and any other text that is not a key's ARN."""
    with pytest.raises(ValueError, match="not the ARN of a KMS key"):
        Configuration(fleet=Path("fleet"), ca_key=wrong)
