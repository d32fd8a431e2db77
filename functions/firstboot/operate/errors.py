"""Errors of an operator's call."""

from __future__ import annotations

from firstboot.domain.errors import OperatorError


class GroupNotFound(OperatorError):
    code = "group-not-found"
    status = 404
    title = "The group does not exist"


class BudgetMissing(OperatorError):
    code = "budget-missing"
    status = 409
    title = "The group has no budget, so its enrollments can't be frozen"


class CertificateLost(OperatorError):
    code = "certificate-lost"
    status = 409
    title = "No copy of the device's certificate is left; the device needs another certificate"


class FleetOutdated(OperatorError):
    code = "fleet-outdated"
    status = 409
    title = "The fleet definition builds on another deployment"


class FleetChanged(OperatorError):
    code = "fleet-changed"
    status = 409
    title = "Another fleet definition was published meanwhile; run `fleet diff` again"


class FleetOrphansDevices(OperatorError):
    code = "fleet-orphans-devices"
    status = 409
    title = "Groups that may have devices are not in the fleet definition"


class FleetNeedsDeployment(OperatorError):
    code = "fleet-needs-deployment"
    status = 409
    title = "This change needs a deployment"
