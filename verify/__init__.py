"""Walk the whole product in an AWS account with throw-away devices, and write down what was measured.

`make verify-aws STACK=…` runs it. It shows what no emulator shows (docs/emulator.md). The tests run it
against an emulator, to show that it works.
"""
