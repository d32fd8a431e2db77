"""The published versions of the functions for which devices wait, with a setting for cold starts."""

from __future__ import annotations

from typing import cast

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.configuration import ColdStart

ALIAS = "live"


def live(function: lambda_.Function, cold_start: ColdStart | None) -> lambda_.Function | lambda_.Alias:
    """Return what each caller of `function` must name: the function itself without a setting for cold starts.

    With one it is the alias of a published version, because SnapStart and provisioned concurrency are for
    published versions only. All calls for one function return the same alias.
    """
    if cold_start is None:
        return function
    # The alias is no child of the function, so that the integrations of an API, which have its construct's
    # id, differ from those of the function. A route then changes over when its permission exists.
    scope, name = cast("Construct", function.node.scope), f"{function.node.id}Live"
    made = scope.node.try_find_child(name)
    if made is not None:
        return cast("lambda_.Alias", made)
    if cold_start.snap_start:
        resource = cast("lambda_.CfnFunction", function.node.default_child)
        resource.snap_start = lambda_.CfnFunction.SnapStartProperty(apply_on="PublishedVersions")
    return lambda_.Alias(
        scope,
        name,
        alias_name=ALIAS,
        # The version's logical id has a hash of the function's code and properties, so that a deployment
        # publishes one when either changes. CDK deletes the version before, after the alias has left it.
        version=function.current_version,
        provisioned_concurrent_executions=cold_start.provisioned or None,
    )
