"""The code around every Lambda function: the guard, transports, routes, settings and messages.

`http`, `mqtt`, `invoke` and `queue` are the transports; `event` is for streams, schedules, the custom
authorizer and CloudFormation. Each builds its work on the first call and runs it under `guard`.
"""
