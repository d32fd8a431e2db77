"""Read a CloudFormation template: its roles, what each may do, and which may sign with the CA's key.

No input or output.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Json = dict[str, Any]

SIGN = "kms:Sign"


@dataclass(frozen=True)
class Statement:
    """A policy statement as text. `${Name.Arn}` stands for a resource of the template."""

    effect: str
    principals: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    condition: str
    signs: bool


@dataclass(frozen=True)
class Role:
    """A role: the principals that may assume it, and what it may do. `managed` are policies that are written
    elsewhere. `keyed` is true if the policy of one of the template's keys lets the role sign.
    """

    name: str
    assumed_by: tuple[str, ...]
    managed: tuple[str, ...]
    statements: tuple[Statement, ...]
    keyed: bool

    @property
    def signs(self) -> bool:
        """Return whether one of the role's policies, or a key's policy, allows the role kms:Sign."""
        return self.keyed or any(statement.signs for statement in self.statements)


@dataclass(frozen=True)
class Key:
    """A KMS key and its policy."""

    name: str
    statements: tuple[Statement, ...]

    @property
    def signers(self) -> tuple[str, ...]:
        """Return the principals that the key's policy lets sign."""
        return tuple(
            name for statement in self.statements if statement.signs for name in statement.principals
        )


def roles(template: Json) -> list[Role]:
    """Return the template's roles, with the policies that it attaches to them."""
    return [
        _role(name, resource["Properties"], template)
        for name, resource in _of_type(template, "AWS::IAM::Role")
    ]


def keys(template: Json) -> list[Key]:
    """Return the template's KMS keys."""
    return [
        Key(name, _statements(resource["Properties"]["KeyPolicy"]))
        for name, resource in _of_type(template, "AWS::KMS::Key")
    ]


def _role(name: str, properties: Json, template: Json) -> Role:
    documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    documents += [
        policy["Properties"]["PolicyDocument"]
        for _, policy in _of_type(template, "AWS::IAM::Policy")
        if {"Ref": name} in policy["Properties"].get("Roles", [])
    ]
    trust = _statements(properties["AssumeRolePolicyDocument"])
    return Role(
        name=name,
        assumed_by=tuple(principal for statement in trust for principal in statement.principals),
        managed=_texts(properties.get("ManagedPolicyArns", [])),
        statements=tuple(statement for document in documents for statement in _statements(document)),
        keyed=any(f"${{{name}.Arn}}" in key.signers for key in keys(template)),
    )


def _of_type(template: Json, kind: str) -> Iterable[tuple[str, Json]]:
    return ((name, each) for name, each in template["Resources"].items() if each["Type"] == kind)


def _statements(document: Json) -> tuple[Statement, ...]:
    return tuple(map(_statement, _listed(document["Statement"])))


def _statement(statement: Json) -> Statement:
    denied = "NotAction" in statement
    actions = _texts(statement.get("NotAction" if denied else "Action", []))
    listed = any(fnmatchcase(SIGN.lower(), action.lower()) for action in actions)
    return Statement(
        effect=statement["Effect"],
        principals=_principals(statement.get("Principal", {})),
        actions=tuple(f"all but {action}" for action in actions) if denied else actions,
        resources=_texts(statement.get("Resource", statement.get("NotResource", []))),
        condition=json.dumps(statement["Condition"], default=str) if "Condition" in statement else "",
        signs=statement["Effect"] == "Allow" and listed != denied,
    )


def _principals(principal: Any) -> tuple[str, ...]:  # noqa: ANN401 - "*" or an object
    if isinstance(principal, str):
        return (principal,)
    return tuple(text for value in principal.values() for text in _texts(value))


def _texts(values: Any) -> tuple[str, ...]:  # noqa: ANN401 - one value of a template or a list of them
    return tuple(map(_text, _listed(values)))


def _listed(values: Any) -> list[Any]:  # noqa: ANN401 - as above
    return values if isinstance(values, list) else [values]


def _text(value: Any) -> str:  # noqa: ANN401 - as above
    """Return a value as text, as in `${Store.Arn}/fleet`. Other intrinsic functions are shown as JSON."""
    match value:
        case str():
            return value
        case {"Ref": name}:
            return f"${{{name}}}"
        case {"Fn::GetAtt": [name, attribute]}:
            return f"${{{name}.{attribute}}}"
        case {"Fn::Join": [str() as separator, list() as parts]}:
            return separator.join(map(_text, parts))
    return json.dumps(value, default=str)
