"""What every Lambda function runs in: one guard, the transports, routes, settings and messages.

`http`, `mqtt`, `invoke` and `queue` are the transports; `event` is for streams, schedules, the custom
authorizer and CloudFormation. Each is built on its first call, and runs its work under `guard`.
"""
